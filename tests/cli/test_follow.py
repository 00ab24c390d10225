"""``aiida-mlfc follow`` as people call it."""

import json

import pytest
from ase.io import write

SHORT = ('--mesh', 1, 1, 1, '--directions', 1, '--no-relax-cell', '--confirm-mesh', 1, 1, 1, '--no-phonons', '--json')


@pytest.fixture(scope='module')
def command(make_command):
    return make_command()


def test_tree_as_json_and_page_and_again_within_a_smaller_budget(command, silicon, tiny_checkpoint, tmp_path):
    write(tmp_path / 'diamond.cif', silicon)
    page = tmp_path / 'tree.html'
    call = ('follow', tmp_path / 'diamond.cif', '--potential', tiny_checkpoint, *SHORT)
    done = command(*call, '--generations', 1, '-o', page)
    assert done.returncode == 0, done.stderr
    tree = json.loads(done.stdout)
    assert [node['spacegroup'] for node in tree['nodes']] == ['Fd-3m (227)', 'R-3m (166)', 'R-3m (166)']
    assert tree['outcome']['state'] == 'stable'
    assert tree['nodes'][1]['energy'] < 0
    text = page.read_text()
    assert 'diamond: imaginary modes followed' in text
    assert tree['process'] in text
    # the budget ends before a stable crystal: the jobs are in the cache, the exit code says what happened
    again = command(*call, '--generations', 0)
    assert again.returncode == 3, again.stderr
    assert json.loads(again.stdout)['nodes'][0]['reason'] == 'generation 0 is the last one'


def test_elements_that_the_potential_does_not_know(command, tiny_checkpoint, tmp_path):
    from ase.build import bulk

    write(tmp_path / 'iron.cif', bulk('Fe', 'bcc', a=2.87))
    done = command('follow', tmp_path / 'iron.cif', '--potential', tiny_checkpoint)
    assert done.returncode == 1
    assert 'does not know Fe' in done.stderr
