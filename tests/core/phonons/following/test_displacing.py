"""Waves in real supercells: phonopy's own modulations, and zone boundaries."""

import numpy as np
import pytest
from ase.build import bulk

from aiida_mlfc.core.phonons.following.displacing import n_cells, real_basis
from aiida_mlfc.core.phonons.following.modes import ImaginaryMode, imaginary_modes, lowest_mode, searched_qpoints
from aiida_mlfc.core.structures.commensurate import commensurate_supercell

from ..springs import SpringCrystal


@pytest.mark.parametrize('q', [(0.5, 0.5, 0.0), (0.5, 0.5, 0.5), (0.25, 0.25, 0.0)])
def test_same_field_as_phonopys_modulation(q):
    crystal = SpringCrystal()
    phonon = crystal.force_constants().to_phonopy()
    found = commensurate_supercell(crystal.atoms, np.array(q))
    matrix = np.rint(np.array(found.atoms.cell) @ np.linalg.inv(np.array(crystal.atoms.cell))).astype(int)
    _, vectors = np.linalg.eigh(phonon.get_dynamical_matrix_at_q(q))
    mode = ImaginaryMode(np.array(q), -1.0, vectors[:, :1].T)
    basis = real_basis(mode, found, crystal.atoms)
    # phonopy's supercell matrix has the new vectors in its columns
    phonon.run_modulations(matrix.T, [[q, 0, 1.0, 0.0]])
    fields, supercell = phonon.get_modulations_and_supercell()
    # phonopy lists the atoms of the supercell in another order
    difference = supercell.positions[:, None] - found.atoms.positions[None]
    scaled = difference @ np.linalg.inv(supercell.cell)
    order = np.abs(scaled - np.rint(scaled)).max(axis=2).argmin(axis=1)
    theirs = fields[0].real
    ours = basis.reshape(len(basis), -1, 3)[:, order].reshape(len(basis), -1)
    theirs = (theirs / np.linalg.norm(theirs)).ravel()
    # phonopy's wave lies in the space that ours span
    np.testing.assert_allclose(np.linalg.norm(ours @ theirs), 1.0, atol=1e-10)
    assert len(basis) == (1 if np.allclose(np.array(q) * 2 % 1, 0) else 2)


def test_cells_of_a_wave():
    assert [n_cells(np.array(q)) for q in ((0, 0, 0), (0.5, 0, 0), (0.5, 0.5, 0.5), (1 / 3, 0.5, 0))] == [1, 2, 2, 6]


def test_translations_are_no_modes():
    """A crystal whose sum rule is broken downwards: its acoustic modes at Γ are imaginary, and no instability."""
    crystal = SpringCrystal()
    phonon = crystal.force_constants(on_site=-0.2).to_phonopy()
    q = np.zeros((1, 3))
    matrices = np.array([phonon.get_dynamical_matrix_at_q(x) for x in q])
    masses = phonon.primitive.masses
    assert np.linalg.eigvalsh(matrices[0])[0] < -1e-3
    assert imaginary_modes(matrices, q, masses) == []
    assert lowest_mode(matrices, q, masses)[0] == 0.0
    q = np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.0]])
    clean = crystal.force_constants().to_phonopy()
    matrices = np.array([clean.get_dynamical_matrix_at_q(x) for x in q])
    lowest, where = lowest_mode(matrices, q, masses)
    assert lowest == pytest.approx(crystal.frequencies(q[1:]).min())
    np.testing.assert_array_equal(where, q[1])


def test_threshold_and_degeneracy():
    squares = np.array([-2.0, -2.0, -1.0, -1e-6, 0.5, 0.7]) * 1e-2
    basis, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))
    matrix = (basis * squares) @ basis.T
    modes = imaginary_modes(matrix[None], np.array([[0.5, 0, 0]]), np.ones(2))
    assert [mode.degeneracy for mode in modes] == [2, 1]
    np.testing.assert_allclose([m.frequency for m in modes], -15.633302 * np.sqrt([2e-2, 1e-2]), rtol=1e-6)
    assert len(imaginary_modes(matrix[None], np.array([[0.5, 0, 0]]), np.ones(2), threshold=2.0)) == 1


@pytest.mark.parametrize('threshold', [float('nan'), float('inf'), -0.05])
def test_thresholds_that_would_make_everything_stable(threshold):
    """Eigenvalue -1 eV/Å²/amu, 15.6i THz, is not stable at any threshold that means something."""
    with pytest.raises(ValueError, match='threshold: got'):
        imaginary_modes(-np.eye(6)[None], np.array([[0.5, 0, 0]]), np.ones(2), threshold=threshold)


@pytest.mark.parametrize('mesh', [(2, 2, float('nan')), (2.5, 2, 2), (0, 2, 2)])
def test_meshes_are_of_positive_integers(mesh):
    with pytest.raises(ValueError, match=r'mesh: got .*wanted three positive integers'):
        searched_qpoints(bulk('Al', a=4.05), mesh, 1e-5)


def test_one_wave_vector_of_each_star():
    from ase.build import bulk

    atoms = bulk('Po', 'sc', a=3.0)
    found = searched_qpoints(atoms, (2, 2, 2), 1e-5)
    assert sorted(np.sum(q == 0.5) for q in found) == [0, 1, 2, 3]
