"""A screen through a real PostgreSQL: the same rows as on sqlite, the same answers, nothing computed twice."""

import json
import sys

import pytest
from ase.io import write

OPTIONS = ['--protocol', 'fast', '--no-relax', '--supercell', '2', '2', '2', '--foreground', '--json']
#: makes the profile in a process of its own, as a person would with ``verdi profile setup core.psql_dos``
MAKE_PROFILE = """
from pathlib import Path
from aiida.manage.configuration import create_profile, get_config
config = get_config(create=True)
create_profile(
    config, name='postgresql', email='a@b.c', first_name='a', last_name='b', institution='c',
    storage_backend='core.psql_dos', storage_config=dict(
        database_engine='postgresql_psycopg', database_hostname='127.0.0.1', database_port={port},
        database_username='aiida', database_password='aiida', database_name='aiida',
        repository_uri=Path({repository!r}).as_uri()),
    broker_backend=None, broker_config=None)
config.set_default_profile('postgresql', overwrite=True)
config.set_option('runner.poll.interval', 1, scope='postgresql')
config.store()
"""
#: what does not depend on the database
SAME = ('name', 'status', 'formula', 'spacegroup', 'n_atoms', 'supercell_matrix', 'verdicts', 'potential_sha256')
FREQUENCIES = ('min_frequency', 'max_frequency', 'zero_point_energy', 'free_energy_300K')


@pytest.fixture(scope='module')
def screened(postgresql_port, make_command, tmp_path_factory, silicon, rocksalt, tiny_checkpoint):
    """One command on PostgreSQL and one on sqlite, after the same screen."""
    import subprocess

    crystals = tmp_path_factory.mktemp('crystals')
    write(crystals / 'Si.cif', silicon)
    write(crystals / 'NaCl.cif', rocksalt)
    arguments = ['screen', crystals, '--potential', tiny_checkpoint, *OPTIONS]
    found = []
    for postgresql in (True, False):
        command = make_command()
        if postgresql:
            code = MAKE_PROFILE.format(port=postgresql_port, repository=str(command.home / 'files'))
            subprocess.run([sys.executable, '-W', 'ignore', '-c', code], env=command.environment, check=True)
        done = command(*arguments)
        assert done.returncode == 0, done.stderr
        found.append((command, arguments, json.loads(done.stdout)))
    return found


def test_same_rows_as_on_sqlite(screened):
    (command, _, ours), (_, _, sqlite) = screened
    storage = 'from aiida.manage import get_manager\nprint(type(get_manager().get_profile_storage()).__name__)'
    assert command.python(storage) == 'PsqlDosBackend'
    assert len(ours) == 2
    for row, other in zip(ours, sqlite, strict=True):
        assert row['status'] == 'ok'
        assert {key: row[key] for key in SAME} == {key: other[key] for key in SAME}
        assert [row[key] for key in FREQUENCIES] == pytest.approx([other[key] for key in FREQUENCIES])


def test_second_launch_does_nothing(screened):
    command, arguments, rows = screened[0]
    count = 'from aiida.orm import *; print(QueryBuilder().append(Node).count())'
    before = command.python(count)
    again = command(*arguments)
    assert json.loads(again.stdout) == rows
    assert command.python(count) == before


def test_queries(screened):
    command, _, rows = screened[0]
    for question in (('made-with', 'tiny'), ('unstable', '--threshold', '100'), ('all',)):
        found = json.loads(command('query', *question, '--json').stdout)
        assert sorted(row['name'] for row in found) == ['NaCl', 'Si'], question
        assert {row['name']: row for row in found} == {row['name']: row for row in rows}
    assert json.loads(command('query', 'failed', '--json').stdout) == []
    (way,) = json.loads(command('query', 'where-from', 'NaCl', '--json').stdout).values()
    assert rows[[row['name'] for row in rows].index('NaCl')]['force_constants_uuid'] in way['force constants']
