"""A screen with a MatterSim checkpoint from files to rows: by the environment's default, by path, and refusals."""

import json

import numpy as np
import pytest
from ase.io import write

from ..core.potentials.mattersim.reference_values import TINY

OPTIONS = ['--protocol', 'fast', '--supercell', '1', '1', '1', '--foreground', '--json']


@pytest.fixture(scope='module')
def screened(make_command, tmp_path_factory, rocksalt):
    """A first screen, with the checkpoint that the environment names."""
    command = make_command()
    command.environment['MLFC_MATTERSIM_CHECKPOINT'] = str(TINY)
    crystals = tmp_path_factory.mktemp('crystals')
    write(crystals / 'NaCl.vasp', rocksalt, format='vasp')
    done = command('screen', crystals, '--potential', 'mattersim', *OPTIONS)
    assert done.returncode == 0, done.stderr
    return command, crystals, {row['name']: row for row in json.loads(done.stdout)}


def test_rows(screened):
    from aiida_mlfc.core.checkpoint_header import sha256_of

    command, _, rows = screened
    assert set(rows) == {'NaCl'}
    for row in rows.values():
        assert row['status'] == 'ok', row
        assert row['potential_sha256'] == sha256_of(TINY)
    shown = json.loads(command('potential', 'show', 'mattersim', '--json').stdout)
    assert shown['sha256'] == sha256_of(TINY)


def test_numbers_are_those_of_the_python_calls(screened):
    """The force constants in the database, against those of the relaxed structure computed here."""
    from ase import Atoms

    from aiida_mlfc.core.potentials.registry import load_potential
    from aiida_mlfc.runner.force_constants import compute_force_constants

    command, _, rows = screened
    row = rows['NaCl']
    stored = json.loads(command.python(
        'import json; from aiida.orm import load_node\n'
        f"node = load_node('{row['force_constants_uuid']}')\n"
        'phonon = node.get_phonopy_instance()\n'
        'print(json.dumps([phonon.force_constants.tolist(), phonon.unitcell.scaled_positions.tolist(),'
        ' phonon.unitcell.cell.tolist(), phonon.unitcell.numbers.tolist(), phonon.supercell_matrix.tolist()]))'
    ))  # fmt: skip
    force_constants, scaled, cell, numbers, matrix = stored
    atoms = Atoms(numbers=numbers, scaled_positions=scaled, cell=cell, pbc=True)
    wanted = compute_force_constants(atoms, np.array(matrix), load_potential(TINY))
    assert np.abs(wanted.array).max() > 0.1
    np.testing.assert_allclose(force_constants, wanted.array, atol=1e-9)


def test_the_path_of_the_same_file_repeats_nothing(screened, tmp_path):
    """What counts is the content: another name of the file, and no variable, find the same results."""
    command, crystals, rows = screened
    path = tmp_path / 'renamed.pth'
    path.write_bytes(TINY.read_bytes())
    environment = command.environment
    command.environment = {k: v for k, v in environment.items() if k != 'MLFC_MATTERSIM_CHECKPOINT'}
    try:
        again = command('screen', crystals, '--potential', path, *OPTIONS)
    finally:
        command.environment = environment
    assert again.returncode == 0, again.stderr
    assert '1 of them from earlier runs' in again.stderr
    assert {row['name']: row for row in json.loads(again.stdout)} == rows


def test_a_variable_without_a_file(screened):
    command, crystals, _ = screened
    environment = command.environment
    command.environment = environment | {'MLFC_MATTERSIM_CHECKPOINT': '/nowhere.pth'}
    try:
        done = command('screen', crystals, '--potential', 'mattersim', *OPTIONS)
    finally:
        command.environment = environment
    assert done.returncode == 1
    assert 'MLFC_MATTERSIM_CHECKPOINT: /nowhere.pth is not a file' in done.stderr
    assert 'Traceback' not in done.stderr
