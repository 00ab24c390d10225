"""Labels between the wave vectors of a supercell: which cells, which modes, and which are not believed."""

from dataclasses import replace

import numpy as np
import pytest
from ase.data import atomic_masses

from aiida_mlfc.core.potentials.training import labels_between
from aiida_mlfc.core.potentials.training.harmonic_labels import DISPLACEMENT, FLOORS, harmonic_cells
from aiida_mlfc.core.potentials.training.interpolation import interpolating_phonopy
from aiida_mlfc.core.potentials.training.labels_between import cells_between, qpoints_between
from aiida_mlfc.core.potentials.training.references import Reference
from aiida_mlfc.core.units import FREQUENCY_FACTOR_THZ

from ...small_systems import SPECIES

CUTOFF = 4.4
CHARGES = {'born': np.array([np.eye(3), -np.eye(3)]), 'dielectric': 2.5 * np.eye(3), 'factor': 14.4}


@pytest.fixture(scope='module')
def commensurate(reference):
    return harmonic_cells(reference, CUTOFF, SPECIES)


@pytest.fixture(scope='module')
def between(reference, commensurate):
    return cells_between(reference, commensurate, CUTOFF, SPECIES, False)


def masses(cell):
    """Of each coordinate, amu."""
    numbers = np.array(SPECIES)[cell.graph.atom_types.argmax(1).numpy()]
    return np.repeat(atomic_masses[numbers], 3)


def squared_residuals(cell, change, kind, rng):
    """Of dynamical matrices that are wrong by ``change`` (between modes, eV/Å²/amu), for many displacements."""
    weighted = cell.modes * masses(cell)
    of_forces = weighted.T @ change @ weighted
    for _ in range(1000):
        u, _, factors = cell.draw(kind, rng)
        yield np.sum((factors @ (of_forces @ u.reshape(-1))) ** 2)


def interpolated(reference, qpoints, with_charges=True):
    """Branches of phonopy's interpolation, the lowest first, THz."""
    phonon = interpolating_phonopy(reference, reference.force_constants())
    if not with_charges:
        phonon.nac_params = None
    phonon.run_qpoints(qpoints)
    return np.sort(phonon.qpoints.frequencies, axis=1)


def test_wave_vectors(reference):
    """fcc, 2 x 2 x 2: the 4 x 4 x 4 mesh has eight stars, three of them on the mesh, and four stars of the 8 x 8 x 8
    mesh lie one step from Γ."""
    stars = qpoints_between(reference)
    assert all(np.abs(2 * q - np.rint(2 * q)).max() > 0.1 for q in stars)
    halfway = [q for q in stars if np.abs(4 * q - np.rint(4 * q)).max() < 1e-6]
    assert len(halfway) == 5
    assert 4 <= len(stars) - len(halfway) <= 13


def test_all_branches_of_each_and_no_others(reference, between):
    """Once as cos and once as sin; force constants of the cell are symmetrised."""
    assert {cell.graph.n_atoms for cell in between} == {8, 16}
    for cell, expected in zip(between, interpolated(reference, qpoints_between(reference)), strict=True):
        assert cell.frequencies.shape == (12,)
        assert np.abs(np.sort(cell.frequencies) - np.repeat(expected, 2)).max() < 5e-3
        assert cell.kinds == {'acoustic': slice(0, 6), 'optical': slice(6, 12)}


def test_optical_branches_are_those_without_charges(reference, commensurate, between):
    """Where the model has none; the complement of the acoustic ones is not quite that of another interpolation."""
    charged = replace(reference, born=CHARGES)
    stars = qpoints_between(reference)
    without, with_them = interpolated(reference, stars), interpolated(charged, stars)
    assert np.abs(without - with_them).max() > 0.2
    for has_dipoles, optical in ((False, without), (True, with_them)):
        found = cells_between(charged, commensurate, CUTOFF, SPECIES, has_dipoles)
        lowest = np.array([cell.frequencies[:6] for cell in found])
        assert np.abs(lowest - np.repeat(with_them[:, :3], 2, axis=1)).max() < 5e-3
        highest = np.array([cell.frequencies[6:] for cell in found])
        assert np.abs(highest - np.repeat(optical[:, 3:], 2, axis=1)).mean() < 0.02
    # for an LO branch 0.02 THz is nothing
    assert np.abs(without[:, 5] - with_them[:, 5]).mean() > 0.1


def test_displacements_are_waves_with_their_forces(between):
    """No net displacement, forces by Newton: M ω² u along every mode."""
    rng = np.random.default_rng(0)
    for cell in between:
        for mode, frequency in zip(cell.modes, cell.frequencies, strict=True):
            square = frequency * abs(frequency) / FREQUENCY_FACTOR_THZ**2
            wrong = np.abs(cell.hessian @ mode - masses(cell) * square * mode).max()
            assert wrong < 1e-6 * np.abs(cell.hessian).max()
        for kind in ('acoustic', 'optical'):
            u, forces, _ = cell.draw(kind, rng)
            assert np.sqrt(np.mean(u**2)) == pytest.approx(DISPLACEMENT)
            assert np.abs(u.sum(axis=0)).max() < 1e-9
            assert np.allclose(forces.reshape(-1), -cell.hessian @ u.reshape(-1))


@pytest.mark.parametrize('kind', ['acoustic', 'optical'])
def test_residuals_are_errors_of_frequencies(between, commensurate, kind):
    """δ(ω²) / ω = 2 δω, relative to the root mean square of all frequencies: on average over draws."""
    rms = np.sqrt(np.mean(np.concatenate([cell.frequencies for cell in commensurate]) ** 2))
    rng = np.random.default_rng(0)
    for cell in between:
        # force constants whose modes all have frequencies larger by a hundredth of that
        drawn = np.maximum(np.abs(cell.frequencies), FLOORS['half'])
        squares = np.diag(2 * drawn * 0.01 * rms / FREQUENCY_FACTOR_THZ**2)
        assert np.mean(list(squared_residuals(cell, squares, kind, rng))) == pytest.approx(0.02**2, rel=0.1)


def test_coupling_of_branches_counts_by_what_it_does_to_frequencies(between):
    """δD_ij between an acoustic and an optical mode: by both of their frequencies, whichever of them is displaced."""
    rng = np.random.default_rng(0)
    cell = between[0]
    coupling = np.zeros((12, 12))
    coupling[0, 11] = coupling[11, 0] = 0.1
    ours = np.maximum(np.abs(cell.frequencies), FLOORS['half'])[[0, 11]]
    assert ours[1] > 2 * ours[0]
    expected = 0.1**2 * FREQUENCY_FACTOR_THZ**4 / ours.prod() / cell.scale**2 / 6
    for kind in ('acoustic', 'optical'):
        assert np.mean(list(squared_residuals(cell, coupling, kind, rng))) == pytest.approx(expected, rel=0.1)


def test_few_where_there_are_many(reference, commensurate, monkeypatch):
    monkeypatch.setattr(labels_between, 'MOST_BETWEEN', 2)
    few = cells_between(reference, commensurate, CUTOFF, SPECIES, False)
    assert len(few) == 2
    # the star nearest to Γ is one of them
    assert abs(few[0].frequencies.min() - interpolated(reference, qpoints_between(reference)[:1]).min()) < 5e-3
    monkeypatch.setattr(labels_between, 'MOST_ATOMS', 8)
    assert all(cell.graph.n_atoms <= 16 for cell in cells_between(reference, commensurate, CUTOFF, SPECIES, False))


def test_interpolation_that_makes_no_sense(reference, commensurate, between, monkeypatch):
    """Unstable near Γ, where the crystal is stable at every wave vector of its supercell: little, or nothing."""
    real = labels_between.interpolating_phonopy

    def bent(*arguments):
        phonon = real(*arguments)
        run = phonon.run_qpoints
        monkeypatch.setattr(phonon, 'run_qpoints', lambda q: (run(q), phonon.qpoints._frequencies.__setitem__(0, -1.0)))
        return phonon

    monkeypatch.setattr(labels_between, 'interpolating_phonopy', bent)
    stable = [replace(cell, frequencies=np.abs(cell.frequencies)) for cell in commensurate]
    assert cells_between(reference, stable, CUTOFF, SPECIES, False) == []
    doubted = cells_between(replace(reference, born=CHARGES), stable, CUTOFF, SPECIES, False)
    full = np.array([cell.scale for cell in between])
    assert [cell.scale for cell in doubted] == pytest.approx(full / labels_between.DOUBTED**0.5)
    assert 0 < labels_between.DOUBTED < 0.3
    # of an unstable crystal it may well be true
    assert min(cell.frequencies.min() for cell in commensurate) < -1
    unstable = cells_between(reference, commensurate, CUTOFF, SPECIES, False)
    assert [cell.scale for cell in unstable] == pytest.approx(full)
    # nor what one side of plus-minus pairs says, which has third order in it: -2.5 THz in Al2S3, which is stable
    assert cells_between(replace(reference, one_sided=True), commensurate, CUTOFF, SPECIES, False) == []
    # and not if it is more unstable than at all wave vectors that are known
    lowest = [replace(cell, frequencies=np.maximum(cell.frequencies, -0.5)) for cell in commensurate]
    assert cells_between(reference, lowest, CUTOFF, SPECIES, False) == []


def test_none_where_all_are_large(reference, commensurate, monkeypatch):
    """A supercell of the primitive cell alone: the cells between have at least twice its atoms."""
    once = replace(reference, supercell=reference.primitive)
    monkeypatch.setattr(Reference, 'force_constants', lambda _: np.zeros((2, 2, 3, 3)))
    monkeypatch.setattr(labels_between, 'MOST_ATOMS', 3)
    assert cells_between(once, commensurate, CUTOFF, SPECIES, False) == []
