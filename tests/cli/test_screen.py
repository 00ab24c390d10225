"""From files to rows, report and answers, in the foreground and through the daemon."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import write

HOSTILE = '<img src=x onerror=alert(1)>'
KEYS = {
    'name',
    'status',
    'error',
    'formula',
    'spacegroup',
    'n_atoms',
    'supercell_matrix',
    'min_frequency',
    'max_frequency',
    'free_energy_300K',
    'potential_sha256',
    'structure_uuid',
    'force_constants_uuid',
}
OPTIONS = ['--protocol', 'fast', '--supercell', '2', '2', '2']


def write_crystals(folder: Path, silicon, rocksalt) -> Path:
    """Two good ones of which one has a hostile name, and three that cannot be used."""
    folder.mkdir()
    write(folder / 'a', silicon, format='cif')
    (folder / 'a').rename(folder / f'{HOSTILE}.cif')
    write(folder / 'NaCl.vasp', rocksalt, format='vasp')
    write(folder / 'iron.extxyz', bulk('Fe', 'bcc', a=2.87))
    whole = (folder / f'{HOSTILE}.cif').read_text()
    (folder / 'truncated.cif').write_text(whole[: len(whole) // 2])
    doubled = rocksalt.copy()
    doubled.positions[1] = doubled.positions[0]
    write(folder / 'doubled.extxyz', doubled)
    return folder


@pytest.fixture(scope='module')
def screened(make_command, tmp_path_factory, silicon, rocksalt, tiny_checkpoint):
    """A first screen of good and bad files, in the foreground, with a profile that it makes itself."""
    command = make_command()
    crystals = write_crystals(tmp_path_factory.mktemp('crystals') / 'folder', silicon, rocksalt)
    arguments = ['screen', crystals, '--potential', tiny_checkpoint, *OPTIONS, '--foreground', '--json']
    done = command(*arguments)
    return command, arguments, done, {row['name']: row for row in json.loads(done.stdout)}


def test_rows_of_good_and_bad_files(screened, tiny_checkpoint):
    from aiida_mlfc.core.checkpoint_header import sha256_of

    _, _, done, rows = screened
    assert done.returncode == 1
    assert "making 'mlfc'" in done.stderr
    assert set(rows) == {HOSTILE, 'NaCl', 'iron', 'truncated', 'doubled'}
    for row in rows.values():
        assert set(row) >= KEYS
    for name in (HOSTILE, 'NaCl'):
        row = rows[name]
        assert row['status'] == 'ok', row
        assert row['error'] in (None, '')
        assert row['supercell_matrix'] == [[2, 0, 0], [0, 2, 0], [0, 0, 2]]
        assert row['potential_sha256'] == sha256_of(tiny_checkpoint)
        assert row['max_frequency'] > 0.1
        assert len(row['structure_uuid']) == len(row['force_constants_uuid']) == 36
    assert rows[HOSTILE]['spacegroup'] == 'Fd-3m (227)'
    assert rows[HOSTILE]['n_atoms'] == 2
    wanted = {'iron': 'does not know Fe', 'truncated': 'is it truncated', 'doubled': 'two atoms on one site'}
    for name, message in wanted.items():
        assert rows[name]['status'] == 'failed'
        assert message in rows[name]['error']
        assert rows[name]['force_constants_uuid'] is None
    assert '2 of 5 crystals have phonons' in done.stderr


def test_second_run_repeats_nothing(screened):
    command, arguments, _, rows = screened
    count = 'from aiida.orm import *; print(QueryBuilder().append(Node).count())'
    before = command.python(count)
    again = command(*arguments, '--allow-failures')
    assert again.returncode == 0
    assert {row['name']: row for row in json.loads(again.stdout)} == rows
    assert '2 of them from earlier runs' in again.stderr
    assert command.python(count) == before


def test_report(screened, tmp_path):
    command, *_ = screened
    done = command('report', '-o', tmp_path / 'page.html')
    assert done.returncode == 0, done.stderr
    page = (tmp_path / 'page.html').read_text()
    assert '<html' in page
    assert 'img src=x' in page
    assert '<img src=x' not in page


def test_query_unstable(screened):
    command, _, _, rows = screened
    low = min(row['min_frequency'] for row in rows.values() if row['status'] == 'ok')
    found = json.loads(command('query', 'unstable', '--threshold', low + 0.5, '--json').stdout)
    assert any(row['min_frequency'] == low for row in found)
    assert all(row['min_frequency'] < low + 0.5 for row in found)
    nothing = command('query', 'unstable', '--threshold', low - 10)
    assert nothing.returncode == 0
    assert 'None.' in nothing.stderr


def test_query_made_with(screened):
    command, _, _, rows = screened
    for identifier in ('tiny', rows['NaCl']['potential_sha256'][:10]):
        found = json.loads(command('query', 'made-with', identifier, '--json').stdout)
        assert {HOSTILE, 'NaCl'} == {row['name'] for row in found}
    assert json.loads(command('query', 'made-with', 'other', '--json').stdout) == []


def test_query_where_from(screened):
    command, arguments, _, rows = screened
    for identifier in ('NaCl', rows['NaCl']['force_constants_uuid'][:8]):
        (way,) = json.loads(command('query', 'where-from', identifier, '--json').stdout).values()
        assert way['read from'] == str(arguments[1] / 'NaCl.vasp')
        assert rows['NaCl']['potential_sha256'] in way['potential']
        assert rows['NaCl']['force_constants_uuid'] in way['force constants']
    missing = command('query', 'where-from', 'nothing')
    assert missing.returncode == 1
    assert 'no crystal is called' in missing.stderr


def test_query_all_and_group(screened):
    command, *_ = screened
    everything = json.loads(command('query', 'all', '--json').stdout)
    assert {row['name'] for row in everything} == {HOSTILE, 'NaCl'}
    (group,) = command.python('from aiida.orm import *; print(*[g.label for g in Group.collection.all()])').split()
    assert group.startswith('mlfc/screen/tiny/')
    assert json.loads(command('query', 'all', '--group', group, '--json').stdout) == everything
    assert json.loads(command('query', 'all', '--group', 'nothing', '--json').stdout) == []
    short = command('query', 'all', '--limit', '1')
    assert '2 crystals, the first 1 are shown' in short.stderr


def test_archive_opens_in_another_profile(screened, make_command, tmp_path):
    """The same rows, the same page and the same way back from an archive, where nothing was computed."""
    command, *_ = screened
    archive = tmp_path / 'screen.aiida'
    done = command('export', 'LAST', '-o', archive)
    assert done.returncode == 0, done.stderr
    for arguments, message in (
        (('LAST', '-o', archive), 'exists'),
        (('nonsense', '-o', tmp_path / 'x.aiida'), 'groups of screens: mlfc/screen/tiny/'),
    ):
        refused = command('export', *arguments)
        assert refused.returncode == 2
        assert message in refused.stderr
    other = make_command()
    assert other('query', 'all').returncode == 0
    imported = other.verdi('archive', 'import', str(archive))
    assert imported.returncode == 0, imported.stderr + imported.stdout
    rows = json.loads(command('query', 'all', '--json').stdout)
    assert json.loads(other('query', 'all', '--json').stdout) == rows
    assert other('query', 'where-from', 'NaCl').stdout.split()[0] == 'NaCl'
    page, same = tmp_path / 'page.html', tmp_path / 'same.html'
    assert command('report', '-o', page).returncode == 0
    assert other('report', '-o', same).returncode == 0
    # the work chains have other primary keys there; the names in where-from say so too
    assert len(same.read_text()) == pytest.approx(len(page.read_text()), rel=0.01)


def test_potentials(screened, tiny_checkpoint, tmp_path):
    command, *_ = screened
    shown = json.loads(command('potential', 'show', tiny_checkpoint, '--json').stdout)
    assert shown['elements'] == ['Na', 'Al', 'Si', 'Cl']
    assert shown['card']['licence'] == 'MIT'
    first, second = (command('potential', 'import', tiny_checkpoint).stdout for _ in range(2))
    assert first == second
    assert shown['sha256'] in first
    (tmp_path / 'x').write_text('garbage')
    for arguments in (('show', tmp_path / 'x'), ('show', 'nonsense'), ('import', tmp_path / 'x')):
        done = command('potential', *arguments)
        assert done.returncode == 1
        assert done.stderr.startswith('Error: ')
        assert 'Traceback' not in done.stderr


@pytest.mark.parametrize(
    ('arguments', 'status', 'message'),
    [
        (['--potential', 'nonsense'], 1, 'wanted a file'),
        (['--protocol', 'sloppy'], 1, "got 'sloppy'"),
        (['--code', 'nonsense@nowhere'], 2, 'verdi code list'),
    ],
    ids=lambda x: x[0] if isinstance(x, list) else '',
)
def test_refusals(screened, tmp_path, rocksalt, tiny_checkpoint, arguments, status, message):
    command, *_ = screened
    write(tmp_path / 'new.cif', bulk('NaCl', 'rocksalt', a=5.7))
    done = command('screen', tmp_path, '--potential', tiny_checkpoint, '--foreground', *arguments)
    assert done.returncode == status
    assert message in done.stderr
    assert 'Traceback' not in done.stderr


def test_nothing_to_screen_and_no_such_profile(screened, tmp_path, tiny_checkpoint):
    command, *_ = screened
    done = command('screen', tmp_path, '--potential', tiny_checkpoint)
    assert done.returncode == 1
    assert 'found no structure' in done.stderr
    done = command('-p', 'nonsense', 'query', 'failed')
    assert done.returncode == 2
    assert "there is no profile 'nonsense'" in done.stderr


def test_new_files_are_all_that_is_computed(screened, tmp_path):
    """A new crystal, and Born charges that came to stand beside an old one; the last test of this profile."""
    command, arguments, _, rows = screened
    write(tmp_path / 'other.cif', bulk('Si', 'diamond', a=5.5))
    (arguments[1] / 'NaCl.BORN').write_text(
        '14.4\n2.3 0 0 0 2.3 0 0 0 2.3\n1.1 0 0 0 1.1 0 0 0 1.1\n-1.1 0 0 0 -1.1 0 0 0 -1.1\n'
    )
    done = command(*arguments, tmp_path, '--allow-failures', '-o', tmp_path / 'rows.json')
    assert done.returncode == 0, done.stderr
    assert '2 crystals to compute' in done.stderr
    assert '1 of them from earlier runs' in done.stderr
    found = {row['name']: row for row in json.loads(done.stdout)}
    assert json.loads((tmp_path / 'rows.json').read_text()) == json.loads(done.stdout)
    assert found['other']['status'] == 'ok'
    assert found[HOSTILE] == rows[HOSTILE]
    assert found['NaCl']['max_frequency'] > rows['NaCl']['max_frequency'] + 0.1
    again = command(*arguments, tmp_path, '--allow-failures')
    assert {row['name']: row for row in json.loads(again.stdout)} == found
    assert '3 of them from earlier runs' in again.stderr


@pytest.mark.daemon
def test_killed_command_leaves_the_daemon_to_it_and_the_next_picks_it_up(make_command, tmp_path, tiny_checkpoint):
    command = make_command()
    for k in range(4):
        write(tmp_path / f'Si{k}.cif', bulk('Si', 'diamond', a=5.40 + 0.01 * k))
    arguments = ['screen', tmp_path, '--potential', tiny_checkpoint, *OPTIONS, '--json']
    try:
        first = command.start(*arguments)
        deadline = time.monotonic() + 90
        while not list(command.home.glob('.aiida/scratch/*/*/*/*/results/Si*')):
            assert first.poll() is None, (command.home / 'err').read_text()
            assert time.monotonic() < deadline, (command.home / 'err').read_text()
            time.sleep(0.1)
        os.kill(first.pid, signal.SIGKILL)
        assert first.wait() == -signal.SIGKILL
        second = command(*arguments)
        assert second.returncode == 0, second.stderr
        rows = json.loads(second.stdout)
        assert [row['status'] for row in rows] == ['ok'] * 4
        labels = command.python(
            'from aiida.orm import *\n'
            'print(*[n.process_label for n in QueryBuilder().append(ProcessNode).all(flat=True)])'
        ).split()
        assert labels.count('ScreenWorkChain') == 1
        assert labels.count('PhononStepsCalculation') == 1
    finally:
        command.verdi('daemon', 'stop')
