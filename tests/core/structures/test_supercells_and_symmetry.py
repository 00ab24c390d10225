"""Supercells by the distance of faces; space groups and refinement by spglib."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st

from aiida_mlfc.core.structures.checks import StructureError
from aiida_mlfc.core.structures.supercells import supercell_for_length
from aiida_mlfc.core.structures.symmetry import primitive_cell, spacegroup, symmetrized

SILICON = bulk('Si', 'diamond', a=5.43)


def heights(cell):
    """Distances between parallel faces, by volume over area."""
    volume = abs(np.linalg.det(cell))
    return np.array([volume / np.linalg.norm(np.cross(cell[(k + 1) % 3], cell[(k + 2) % 3])) for k in range(3)])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-2, 2), min_size=9, max_size=9), st.floats(3, 15))
def test_smallest_supercell_that_is_large_enough(entries, length):
    cell = 4 * np.eye(3) + np.array(entries).reshape(3, 3)
    if abs(np.linalg.det(cell)) < 5:
        return
    matrix = supercell_for_length(Atoms('Si', cell=cell, pbc=True), length)
    repeats = np.diag(matrix)
    np.testing.assert_array_equal(matrix, np.diag(repeats))
    assert (heights(matrix @ cell) > length * (1 - 1e-5)).all()
    for k in np.flatnonzero(repeats > 1):
        assert heights(cell)[k] * (repeats[k] - 1) < length


def test_thin_rhombohedral_cell():
    """Vectors of 6 Å, but faces only 2.5 Å apart: lengths of vectors would ask for two."""
    cell = np.array([[6, 0, 0], [5.5, 2.5, 0], [0, 0, 6]])
    assert np.diag(supercell_for_length(Atoms('Si', cell=cell, pbc=True), 10.0)).tolist() == [5, 4, 2]


def test_rounding_does_not_add_a_repeat():
    assert np.diag(supercell_for_length(bulk('Si', 'diamond', a=5.0, cubic=True), 10.0)).tolist() == [2, 2, 2]


def test_too_many_atoms():
    with pytest.raises(ValueError, match=r'4x4x4 with 128 atoms, wanted at most 100: raise max_atoms'):
        supercell_for_length(SILICON, 10.0, 100)
    assert supercell_for_length(SILICON, 10.0, 128).max() == 4


def test_space_groups():
    assert spacegroup(SILICON) == 'Fd-3m (227)'
    assert spacegroup(bulk('NaCl', 'wurtzite', a=3.25, c=5.21)) == 'P6_3mc (186)'
    moved = SILICON.copy()
    moved.positions[1] += [0.001, 0.002, 0.003]
    assert spacegroup(moved, 1e-5) != 'Fd-3m (227)'
    assert spacegroup(moved, 1e-2) == 'Fd-3m (227)'


@pytest.mark.parametrize('old', [True, False])
@pytest.mark.filterwarnings('ignore:Set OLD_ERROR_HANDLING')
def test_no_space_group_is_an_error(monkeypatch, old):
    """spglib returns None, or raises: phonopy switches that for the whole process when it is imported."""
    monkeypatch.setattr('spglib.error.OLD_ERROR_HANDLING', old)
    broken = Atoms('Si2', scaled_positions=[[0, 0, 0], [0, 0, 0]], cell=np.eye(3) * 4, pbc=True)
    with pytest.raises(StructureError, match='spglib finds no'):
        spacegroup(broken)
    with pytest.raises(StructureError, match='spglib finds no'):
        primitive_cell(broken)


def test_symmetrized_puts_few_digits_right():
    """A hexagonal cell as a file with four digits gives it: 1/3 as 0.3333."""
    exact = bulk('NaCl', 'wurtzite', a=3.25, c=5.21)
    rough = exact.copy()
    rough.set_scaled_positions(exact.get_scaled_positions().round(4))
    rough.set_cell(np.array(exact.cell).round(4), scale_atoms=True)
    assert spacegroup(rough, 1e-6) != spacegroup(exact, 1e-6)
    before = rough.positions.copy()
    better = symmetrized(rough, 1e-2)
    assert spacegroup(better, 1e-8) == 'P6_3mc (186)'
    np.testing.assert_array_equal(rough.positions, before)
    assert np.abs(better.positions - rough.positions).max() < 2e-3
    assert better.numbers.tolist() == rough.numbers.tolist()


def test_symmetrized_keeps_a_real_distortion():
    distorted = SILICON.copy()
    distorted.positions[1] += [0.05, 0.0, 0.0]
    np.testing.assert_allclose(symmetrized(distorted, 1e-4).get_distance(0, 1), distorted.get_distance(0, 1), atol=1e-6)


def test_primitive_cell():
    found = primitive_cell(bulk('NaCl', 'rocksalt', a=5.64, cubic=True) * (1, 1, 2))
    assert sorted(found.numbers) == [11, 17]
    assert found.get_volume() == pytest.approx(5.64**3 / 4)
    assert found.get_distance(0, 1, mic=True) == pytest.approx(2.82)
