"""``aiida-mlfc follow`` as people call it."""

import json
import os
import signal

import click
import pytest
from aiida.engine import WorkChain
from ase.io import write

from aiida_mlfc.cli.follow import _run

SHORT = ('--mesh', 1, 1, 1, '--directions', 1, '--no-relax-cell', '--confirm-mesh', 1, 1, 1, '--no-phonons')


@pytest.fixture(scope='module')
def command(make_command):
    return make_command()


def test_budget_that_ends_first_then_the_same_from_the_cache(command, silicon, tiny_checkpoint, tmp_path):
    """The random potential finds diamond unstable; without a generation to go the exit code says so."""
    write(tmp_path / 'diamond.cif', silicon)
    page = tmp_path / 'tree.html'
    call = ('follow', tmp_path / 'diamond.cif', '--potential', tiny_checkpoint, '--generations', 0, *SHORT)
    done = command(*call, '--json', '-o', page)
    assert done.returncode == 3, done.stderr
    tree = json.loads(done.stdout)
    (root,) = tree['nodes']
    assert (root['spacegroup'], root['verdict']) == ('Fd-3m (227)', 'budget')
    assert root['reason'] == 'generation 0 is the last one'
    assert root['modes'][0]['degeneracy'] == 3
    text = page.read_text()
    assert 'diamond: imaginary modes followed' in text
    assert tree['process'] in text
    again = command(*call)
    assert again.returncode == 3, again.stderr
    assert '0 Si Fd-3m (227), 2 atoms' in again.stdout
    code = """
from aiida.orm import CalcJobNode, QueryBuilder
print(*[bool(n.base.caching.is_created_from_cache) for n in QueryBuilder().append(CalcJobNode).all(flat=True)])
"""
    assert sorted(command.python(code).split()) == ['False', 'False', 'True', 'True']


def test_elements_that_the_potential_does_not_know(command, tiny_checkpoint, tmp_path):
    from ase.build import bulk

    write(tmp_path / 'iron.cif', bulk('Fe', 'bcc', a=2.87))
    done = command('follow', tmp_path / 'iron.cif', '--potential', tiny_checkpoint)
    assert done.returncode == 1
    assert 'does not know Fe' in done.stderr


class Ends(WorkChain):
    """Ends without a message, or as Ctrl-C ends it."""

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input('killed', valid_type=bool, non_db=True)
        spec.outline(cls.interrupt, cls.fail)

    def interrupt(self):
        if self.inputs.killed:
            os.kill(os.getpid(), signal.SIGINT)

    def fail(self):
        return 7


@pytest.mark.parametrize(('killed', 'said'), [(False, r'Ends<\d+>: exit status 7'), (True, 'received an interrupt')])
def test_an_end_without_a_result_is_one_line(aiida_profile, killed, said):
    builder = Ends.get_builder()
    builder.killed = killed
    with pytest.raises(click.ClickException, match=said):
        _run(builder)
