"""Every wave vector once and with its weight; thermal properties as phonopy has them."""

import numpy as np
import pytest
from ase.build import bulk

from aiida_mlfc.core.comparison.alignment import align
from aiida_mlfc.core.comparison.metrics import frequency_errors, pair_distances
from aiida_mlfc.core.comparison.sampling import Sampled, sample, stars
from aiida_mlfc.core.comparison.thermodynamics import TEMPERATURES, thermodynamics

from .crystals import force_constants_of, wurtzite


@pytest.fixture(scope='module')
def aligned():
    given = force_constants_of(bulk('Al', 'fcc', a=4.05), (3, 3, 3))
    return align(given, force_constants_of(bulk('Al', 'fcc', a=4.05), (3, 3, 3), seed=1, stretch=1.1))


def test_stars_are_a_partition_and_means_over_them_are_those_of_the_full_mesh(aligned):
    sampling = sample(aligned, mesh_length=15.0, points=3)
    mesh = sampling.mesh
    numbers = sampling.mesh_numbers
    assert mesh.weights.sum() == np.prod(numbers)
    assert len(mesh.weights) < np.prod(numbers) / 8
    grid = np.stack(np.meshgrid(*[np.arange(n) / n for n in numbers], indexing='ij'), axis=-1).reshape(-1, 3)
    full = []
    for side in (aligned.a, aligned.b):
        phonon = side.force_constants.to_phonopy()
        phonon.run_qpoints(grid)
        full.append(np.array(phonon.qpoints.frequencies))
    everything = frequency_errors(Sampled(grid, np.ones(len(grid)), *full))
    reduced = frequency_errors(mesh)
    for name in ('mae', 'rmse', 'max', 'bias'):
        assert getattr(reduced, name) == pytest.approx(getattr(everything, name), abs=1e-6)
    np.testing.assert_allclose(reduced.per_band, everything.per_band, atol=1e-6)
    assert np.mean(reduced.per_band) == pytest.approx(reduced.mae)


def test_commensurate_points_are_those_of_the_supercell(aligned):
    sampling = sample(aligned, mesh_length=10.0, points=3)
    assert sampling.commensurate.weights.sum() == 27
    np.testing.assert_allclose(sampling.commensurate.qpoints * 3, np.rint(sampling.commensurate.qpoints * 3), atol=1e-9)


def test_acoustic_modes_at_gamma_are_zero_and_count_once(aligned):
    mesh = sample(aligned, mesh_length=10.0, points=3).mesh
    at_gamma = np.flatnonzero(np.abs(mesh.qpoints).max(axis=1) < 1e-9)
    assert len(at_gamma) == 1
    assert not mesh.a[at_gamma].any()
    assert mesh.weights[at_gamma] == 1


def test_stars_without_symmetry_join_q_and_minus_q():
    qpoints = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]]) / 4
    chosen, weights = stars(qpoints, np.eye(3, dtype=int)[None])
    assert weights.tolist() == [1, 2, 1]
    assert len(chosen) == 3


def test_thermal_properties_are_phonopys():
    given = force_constants_of(wurtzite(), (2, 2, 2))
    phonon = given.to_phonopy()
    phonon.run_mesh([6, 6, 4], is_gamma_center=True)
    phonon.run_thermal_properties(temperatures=TEMPERATURES, exclude_gamma_acoustic=True)
    expected, mesh = phonon.thermal_properties, phonon.mesh
    frequencies = np.array(mesh.frequencies)
    gamma = int(np.flatnonzero(np.abs(mesh.qpoints).max(axis=1) < 1e-9)[0])
    frequencies[gamma, np.argsort(np.abs(frequencies[gamma]))[:3]] = 0
    found = thermodynamics(frequencies, np.array(mesh.weights), TEMPERATURES)
    np.testing.assert_allclose(found.free_energy, expected.free_energy, atol=1e-8)
    np.testing.assert_allclose(found.entropy, expected.entropy, atol=1e-7)
    np.testing.assert_allclose(found.heat_capacity, expected.heat_capacity, atol=1e-7)


def test_distances_are_those_of_the_nearest_images():
    given = force_constants_of(bulk('Al', 'fcc', a=4.05), (3, 3, 3))
    phonon = given.to_phonopy()
    distances = pair_distances(phonon)
    assert distances.shape == (1, 27)
    atoms = given.unitcell.repeat(3)
    expected = np.sort(atoms.get_all_distances(mic=True)[0])
    np.testing.assert_allclose(np.sort(distances[0]), expected, atol=1e-9)
