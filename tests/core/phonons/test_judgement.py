"""What ``analyse`` calls stable, soft or noise, and what it refuses to judge."""

import dataclasses

import numpy as np
import pytest
from ase.build import bulk

from aiida_mlfc.core.force_constants.record import ForceConstants, Quality
from aiida_mlfc.core.phonons.analysis import analyse
from aiida_mlfc.core.phonons.translations import optical_at_gamma
from aiida_mlfc.core.structures.cells import to_phonopy
from aiida_mlfc.core.units import FREQUENCY_FACTOR_THZ

from .springs import SpringCrystal

MESH = 30.0


def test_residual_of_what_was_symmetrised_hides_nothing():
    """The record of a symmetrised array tells of the raw one: no noise of this array, whose modes are real."""
    exact = SpringCrystal(second=-0.6).force_constants()
    raw = dataclasses.replace(exact.quality, acoustic_sum_residual=3.0, permutation_asymmetry=1.0)
    symmetrised = dataclasses.replace(exact, quality=raw)
    before, after = (analyse(x, mesh_length=MESH, points_per_segment=5) for x in (exact, symmetrised))
    assert after.stability.noise_floor == before.stability.noise_floor < 1e-3
    assert set(after.stability.verdicts.values()) == {'unstable'}
    assert 'imaginary modes are left out of thermal properties' in after.warnings
    assert any('acoustic sum residual' in text for text in after.warnings)


def test_imaginary_modes_within_the_noise_are_left_out_too_and_it_is_said():
    """Permutation symmetry broken by 0.5 eV/Å²: noise enough to call nothing unstable, not to keep it in the sums."""
    exact = SpringCrystal(second=-0.6).force_constants()
    array = exact.array.copy()
    array[0, 1, 0, 1] += 0.5
    array[0, 1, 1, 0] -= 0.5
    array[0, 0, 0, 1] -= 0.5
    array[0, 0, 1, 0] += 0.5
    phonons = analyse(dataclasses.replace(exact, array=array, _light=[]), mesh_length=MESH, points_per_segment=5)
    assert phonons.stability.noise_floor > -phonons.stability.min_frequency > 0.5
    assert phonons.stability.verdicts['zero'] == 'stable'
    assert 'imaginary modes are left out of thermal properties' in phonons.warnings


def test_soft_mode_at_gamma_is_not_taken_for_a_translation():
    """Two atoms on a spring k, each on a spring s: translations have ω² = s/m, the soft mode (2k + s)/m."""
    spring, on_site = -7e-4, 1e-3
    pair = np.array([[spring + on_site, -spring], [-spring, spring + on_site]])
    array = pair[:, :, None, None] * np.eye(3)
    quality = Quality('unknown', 'float64', 0.0, on_site, 0.0, 1, 0.0, 0.0)
    found = analyse(
        ForceConstants(array, bulk('Si', a=5.43), np.eye(3, dtype=int), np.eye(3), quality), MESH, points_per_segment=5
    )
    mass = to_phonopy(bulk('Si')).masses[0]
    soft = -np.sqrt(-(2 * spring + on_site) / mass) * FREQUENCY_FACTOR_THZ
    assert np.sqrt(on_site / mass) * FREQUENCY_FACTOR_THZ > -soft
    assert found.stability.min_frequency == pytest.approx(soft, rel=1e-9)
    assert found.stability.min_frequency_qpoint == (0.0, 0.0, 0.0)


def test_optical_modes_at_gamma_are_phonopys_where_the_sum_rule_holds():
    atoms = bulk('NaCl', 'rocksalt', a=5.64)
    array = np.array([[3.0, -3.0], [-3.0, 3.0]])[:, :, None, None] * np.diag([1.0, 2.0, 3.0])
    quality = Quality('unknown', 'float64', 0.0, 0.0, 0.0, 1, 0.0, 0.0)
    phonon = ForceConstants(array, atoms, np.eye(3, dtype=int), np.eye(3), quality).for_frequencies()
    found = optical_at_gamma(phonon)
    np.testing.assert_allclose(found, phonon.run_qpoints([[0, 0, 0]]).frequencies[0, 3:], rtol=1e-12)
    assert found[0] > 1


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_numbers_that_are_none_are_refused(value):
    """NaN is below no threshold: without a check such a crystal is stable everywhere."""
    broken = SpringCrystal().force_constants()
    broken.array[0, 3, 1, 2] = value
    with pytest.raises(ValueError, match='1 of 576 numbers that are not finite'):
        analyse(broken, mesh_length=MESH, points_per_segment=5)


def test_array_of_another_supercell_is_refused():
    given = SpringCrystal().force_constants()
    with pytest.raises(ValueError, match=r'got shape \(1, 63, 3, 3\), wanted \(1, 64, 3, 3\)'):
        analyse(dataclasses.replace(given, array=given.array[:, 1:]), mesh_length=MESH)


def test_born_charges_in_a_left_handed_cell_are_refused():
    """phonopy's Ewald sums come out complex there: half a THz or more wrong, and a warning at most."""
    atoms = bulk('NaCl', 'rocksalt', a=5.64)
    atoms.set_cell(-atoms.cell)
    array = np.array([[3.0, -3.0], [-3.0, 3.0]])[:, :, None, None] * np.eye(3)
    quality = Quality('unknown', 'float64', 0.0, 0.0, 0.0, 1, 0.0, 0.0)
    born = {'born': np.array([np.eye(3), -np.eye(3)]), 'dielectric': 2.4 * np.eye(3), 'factor': 14.4}
    given = ForceConstants(array, atoms, np.eye(3, dtype=int), np.eye(3), quality, born)
    with pytest.raises(ValueError, match='left-handed'):
        analyse(given, MESH)
    assert analyse(dataclasses.replace(given, nac_params=None, _light=[]), MESH).stability.max_frequency > 1


def test_isotopes_that_lower_the_symmetry_are_refused():
    """phonopy's stars of wave vectors are those of the elements."""
    atoms = bulk('Si', a=5.43)
    atoms.set_masses([28.0, 30.0])
    array = np.array([[3.0, -3.0], [-3.0, 3.0]])[:, :, None, None] * np.eye(3)
    quality = Quality('unknown', 'float64', 0.0, 0.0, 0.0, 1, 0.0, 0.0)
    with pytest.raises(ValueError, match='wanted one mass'):
        analyse(ForceConstants(array, atoms, np.eye(3, dtype=int), np.eye(3), quality), MESH)
