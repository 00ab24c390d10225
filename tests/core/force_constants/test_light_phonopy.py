"""Everything that phonons need is the same with and without the symmetry of the supercell."""

import warnings

import numpy as np
import pytest
from ase.build import bulk
from phonopy import Phonopy

from aiida_mlfc.core.force_constants.irreducible import set_up
from aiida_mlfc.core.force_constants.light_phonopy import LightPhonopy
from aiida_mlfc.core.structures.cells import to_phonopy
from tests.core.phonons.springs import SpringCrystal

DIFFERENT = 'Point group symmetries of supercell'


@pytest.fixture(scope='module')
def force_constants():
    return SpringCrystal().force_constants()


def test_same_phonons(force_constants):
    full, light = force_constants.to_phonopy(), force_constants.for_frequencies()
    assert type(full) is Phonopy
    assert type(light) is LightPhonopy
    assert force_constants.for_frequencies() is light
    for phonon in (full, light):
        phonon.run_mesh([6, 6, 6], with_eigenvectors=True, is_gamma_center=True)
        phonon.run_thermal_properties(temperatures=[300.0], exclude_gamma_acoustic=True)
    # Fm-3m: 16 of 216
    assert len(light.mesh.weights) == len(full.mesh.weights) == 16
    np.testing.assert_array_equal(light.mesh.weights, full.mesh.weights)
    np.testing.assert_allclose(light.mesh.frequencies, full.mesh.frequencies, atol=1e-12)
    np.testing.assert_allclose(light.thermal_properties.free_energy, full.thermal_properties.free_energy, rtol=1e-12)


def test_only_the_full_one_knows_the_supercell(force_constants):
    full, light = force_constants.to_phonopy(), force_constants.for_frequencies()
    assert len(full.symmetry.pointgroup_operations) == 48
    assert len(light.symmetry.pointgroup_operations) == 1
    assert len(light.primitive_symmetry.pointgroup_operations) == 48


@pytest.mark.parametrize('matrix', [np.diag([2, 2, 2]), [[-1, 1, 1], [1, -1, 1], [1, 1, -1]], np.diag([2, 1, 1])])
def test_warning_where_phonopy_warns(matrix):
    """A supercell with less symmetry than the crystal."""
    cell = to_phonopy(bulk('NaCl', 'rocksalt', a=5.64))
    said = []
    for kind in (Phonopy, LightPhonopy):
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter('always')
            kind(cell, matrix, 'P', log_level=0)
        said.append(any(DIFFERENT in str(warning.message) for warning in found))
    assert said[0] == said[1] == bool(np.array_equal(matrix, np.diag([2, 1, 1])))


def test_the_symmetry_of_the_supercell_is_searched_for_directions_only():
    setup = set_up(bulk('NaCl', 'rocksalt', a=5.64), np.diag([2, 2, 2]))
    assert setup.fewest_directions == 2
    assert 'searched' not in setup.__dict__
    assert len(setup.directions) == 2
    assert 'searched' in setup.__dict__


@pytest.mark.filterwarnings(f'ignore:Warning. {DIFFERENT}:UserWarning')
def test_a_supercell_of_another_shape_leaves_more_directions():
    setup = set_up(bulk('NaCl', 'rocksalt', a=5.64), np.array([[2, 1, 0], [0, 3, 0], [0, 0, 1]]))
    assert setup.fewest_directions < len(setup.directions)
