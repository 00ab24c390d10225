"""What is learned from and what is held back have nothing in common."""

from dataclasses import replace

import numpy as np
import pytest

from aiida_mlfc.cli.training import force_set_arrays
from aiida_mlfc.core.references.configurations import read_configurations
from aiida_mlfc.core.references.force_sets import ReferenceError
from aiida_mlfc.exchange.training_options import TrainOptions
from aiida_mlfc.runner.training_data import check_copies, is_same_crystal, read_force_set, split

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
    together = {one.tobytes() for part in forces for one in part}
    assert together == {one.tobytes() for one in found.forces}


def test_same_crystal_in_another_supercell(arrays):
    found = read_force_set(arrays)
    larger = found.primitive.copy()
    larger.set_cell(1.03 * larger.cell, scale_atoms=True)
    assert is_same_crystal(found, replace(found, primitive=larger * (1, 2, 1)))
    other = found.primitive.copy()
    other.numbers[other.numbers == 11] = 19
    assert not is_same_crystal(found, replace(found, primitive=other))
