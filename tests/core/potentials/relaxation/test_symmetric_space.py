"""The coordinates of a relaxation: as many as group theory says, and no step along them lowers the symmetry."""

import numpy as np
import pytest
from ase.build import bulk

from aiida_mlfc.core.potentials.relaxation.symmetric_space import symmetric_space
from aiida_mlfc.core.structures.symmetry import spacegroup, symmetrized


@pytest.fixture
def crystals(wurtzite, rutile, triclinic):
    """With the numbers of symmetric displacements and strains, from the Wyckoff letters and the crystal systems."""
    return {
        'rocksalt': (bulk('NaCl', 'rocksalt', a=5.64), 0, 1),
        'rocksalt, cubic cell': (bulk('NaCl', 'rocksalt', a=5.64, cubic=True), 0, 1),
        # u, and one of two translations along c that is not a uniform one
        'wurtzite': (wurtzite, 1, 2),
        'rutile': (rutile, 1, 2),
        'triclinic': (triclinic, 3 * 4 - 3, 6),
    }


def test_numbers_of_coordinates(crystals):
    for name, (atoms, n_displacements, n_strains) in crystals.items():
        space = symmetric_space(symmetrized(atoms, 1e-5), 1e-5, relax_cell=True)
        assert (len(space.displacements), len(space.strains)) == (n_displacements, n_strains), name
        fixed = symmetric_space(symmetrized(atoms, 1e-5), 1e-5, relax_cell=False)
        assert fixed.size == n_displacements, name


def test_steps_keep_the_space_group_exactly(crystals):
    for name, (atoms, _, _) in crystals.items():
        exact = symmetrized(atoms, 1e-5)
        space = symmetric_space(exact, 1e-5, relax_cell=True)
        moved = exact
        for seed in range(3):
            q = 0.1 * np.random.default_rng(seed).standard_normal(space.size)
            moved = space.moved(moved, q)
        assert abs(moved.get_volume() / exact.get_volume() - 1) > 1e-3, name
        assert spacegroup(moved, 1e-9) == spacegroup(exact, 1e-9), name


def test_basis_is_orthonormal_and_nothing_drifts(crystals):
    for atoms, n_displacements, n_strains in crystals.values():
        space = symmetric_space(symmetrized(atoms, 1e-5), 1e-5, relax_cell=True)
        rows = space.displacements.reshape(n_displacements, 3 * len(atoms))
        np.testing.assert_allclose(rows @ rows.T, np.eye(n_displacements), atol=1e-12)
        np.testing.assert_allclose(space.displacements.sum(1), 0, atol=1e-12)
        np.testing.assert_allclose(space.strains, space.strains.swapaxes(1, 2), atol=1e-12)
        rows = space.strains.reshape(n_strains, -1)
        length = np.linalg.norm(rows[0])
        np.testing.assert_allclose(rows @ rows.T, np.eye(n_strains) * length**2, atol=1e-12)


def test_strain_is_eulerian_to_second_order(wurtzite):
    """(1 - 2e)^(-1/2) = 1 + e + 3/2 e² + O(e³)."""
    space = symmetric_space(symmetrized(wurtzite, 1e-5), 1e-5, relax_cell=True)
    q = np.zeros(space.size)
    q[-2:] = 1e-3 / np.linalg.norm(space.strains[0])
    strain = space.fields(q)[1]
    values, vectors = np.linalg.eigh(np.eye(3) - 2 * strain)
    wanted = np.array(wurtzite.cell) @ (vectors / np.sqrt(values)) @ vectors.T
    found = np.array(space.moved(symmetrized(wurtzite, 1e-5), q).cell)
    assert np.abs(found - wanted).max() < 5 * 8 * np.abs(strain).max() ** 3 * np.abs(wanted).max()
    assert np.abs(strain).max() > 5e-4
