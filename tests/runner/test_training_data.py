"""What is learned from and what is held back have nothing in common."""

from dataclasses import replace

import numpy as np
import pytest

from aiida_mlfc.cli.training import force_set_arrays
from aiida_mlfc.core.potentials.training.harmonic_labels import harmonic_cells
from aiida_mlfc.core.references.configurations import read_configurations
from aiida_mlfc.core.references.force_sets import ReferenceError
from aiida_mlfc.exchange.training_options import TrainOptions
from aiida_mlfc.runner.training_data import check_copies, is_same_crystal, read_force_set, split

from ..core.toy_mirrors import mirrored_reference, write_mirrors
from ..spring_sets import write_springs


@pytest.fixture(scope='module')
def arrays(tmp_path_factory):
    folder = tmp_path_factory.mktemp('sets') / 'salt'
    write_springs(folder)
    (reference,) = read_configurations([folder])
    return force_set_arrays(reference)


def test_copies_within_a_set_are_left_out(arrays, capsys):
    """Configuration 3 once more at the end, where it would have been held back."""
    twice = {key: np.concatenate([arrays[key], arrays[key][2:3]]) for key in ('displacements', 'forces')}
    found = read_force_set({**arrays, **twice})
    assert np.array_equal(found.forces, read_force_set(arrays).forces)
    assert 'salt: configurations that are there twice are left out: 13 (as 3)' in capsys.readouterr().err


def test_sets_that_share_configurations_are_refused(arrays):
    """In another order, under another name, next to others: half a picometre more makes it another configuration."""
    found = read_force_set(arrays)
    shuffled = replace(found.chosen(np.array([7, 1, 0])), name='again')
    with pytest.raises(ReferenceError, match='configuration 1 of again is also in salt'):
        check_copies([found, shuffled])
    check_copies([found, replace(shuffled, displacements=shuffled.displacements + 5e-3)])


def test_parts_are_apart(arrays):
    found = read_force_set(arrays)
    parts = split(found, TrainOptions(valid_fraction=0.34))
    forces = [part.forces for part in (parts.learned, parts.valid, parts.held_back)]
    assert [len(part) for part in forces] == [4, 2, 6]
    assert parts.valid.whole is parts.held_back.whole is None
    together = {one.tobytes() for part in forces for one in part}
    assert together == {one.tobytes() for one in found.forces}


def hessians(reference):
    """What frequencies are compared with where training validates and where uncertainty is calibrated."""
    return np.concatenate([cell.hessian.ravel() for cell in harmonic_cells(reference, 3.2, (11, 17))])


def test_mirrors_are_judged_by_whole_pairs(tmp_path):
    """Held back, or set aside where nothing is held back: every second of plus-minus pairs has one side."""
    (read,) = read_configurations([write_mirrors(tmp_path / 'mirrored')])
    found = read_force_set(force_set_arrays(read))
    exact = hessians(mirrored_reference())
    held_back = split(found, TrainOptions())
    aside = split(found, TrainOptions(hold_back=False, valid_fraction=0.5))
    assert aside.held_back is None
    for part in (held_back.held_back, aside.valid):
        assert np.array_equal(part.forces, found.forces[1::2])
        np.testing.assert_allclose(hessians(part), exact, rtol=0, atol=1e-6 * np.abs(exact).max())
    # what is learned is learned from its own configurations alone
    for part in (held_back.learned, aside.learned):
        assert part.whole is None
        assert np.abs(hessians(part) - exact).max() > 5e-3 * np.abs(exact).max()


def test_same_crystal_in_another_supercell(arrays):
    found = read_force_set(arrays)
    larger = found.primitive.copy()
    larger.set_cell(1.03 * larger.cell, scale_atoms=True)
    assert is_same_crystal(found, replace(found, primitive=larger * (1, 2, 1)))
    other = found.primitive.copy()
    other.numbers[other.numbers == 11] = 19
    assert not is_same_crystal(found, replace(found, primitive=other))
