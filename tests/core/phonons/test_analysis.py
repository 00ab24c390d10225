"""``analyse`` against crystals whose phonons are known in closed form, and against DFT where Born charges matter."""

import dataclasses
from pathlib import Path

import numpy as np
import phonopy
import pytest
from ase import units
from ase.build import bulk

from aiida_mlfc.core.force_constants.record import ForceConstants, Quality
from aiida_mlfc.core.phonons.analysis import analyse
from aiida_mlfc.core.phonons.stability import NOISE_SAFETY
from aiida_mlfc.core.structures.cells import to_ase, to_phonopy
from aiida_mlfc.core.units import FREQUENCY_FACTOR_THZ

from .springs import LATTICE, SpringCrystal

REFERENCES = Path(__file__).parents[4] / 'shared' / 'data' / 'dft_references'
#: h·THz in eV; ASE holds CODATA 2014, phonopy newer ones: they differ by 1e-6
PLANCK_EV_PER_THZ = units._hplanck / units._e * 1e12
KJ_PER_MOL = units.mol / units.kJ
MESH = 30.0


@pytest.fixture(scope='module')
def springs():
    return SpringCrystal()


@pytest.fixture(scope='module')
def phonons(springs):
    return analyse(springs.force_constants(), mesh_length=MESH, points_per_segment=11)


def mesh_of(phonons):
    n = phonons.dos.mesh
    return np.array(np.meshgrid(*[np.arange(k) / k for k in n], indexing='ij')).reshape(3, -1).T


def test_bands_are_the_closed_form(springs, phonons):
    bands = phonons.bands
    np.testing.assert_allclose(bands.frequencies[1:], springs.frequencies(bands.qpoints)[1:], atol=2e-5)
    assert bands.frequencies.max() > 5
    # Γ-X of fcc: ω² = 4k/m sin²(πξ/2) twice and 8k₁/m sin²(πξ/2) + 4k₂/m sin²(πξ) once, seekpath's first segment
    first = slice(*bands.segments[0])
    assert bands.labels[0] == ('Γ', 'X')
    xi = np.linspace(0, 1, 11)
    mass = springs.phonon.primitive.masses[0]
    transverse = np.sqrt(4 * springs.first / mass) * np.sin(np.pi * xi / 2) * FREQUENCY_FACTOR_THZ
    longitudinal = FREQUENCY_FACTOR_THZ * np.sqrt(
        (8 * springs.first * np.sin(np.pi * xi / 2) ** 2 + 4 * springs.second * np.sin(np.pi * xi) ** 2) / mass
    )
    np.testing.assert_allclose(bands.frequencies[first, 0], transverse, atol=2e-5)
    np.testing.assert_allclose(bands.frequencies[first, 2], longitudinal, atol=2e-5)


def test_path_is_measured_in_reciprocal_length(springs, phonons):
    """Distances within a segment are |Δq| without 2π; segments follow each other without a step."""
    bands = phonons.bands
    reciprocal = np.linalg.inv(np.array(springs.atoms.cell)).T
    assert bands.segments[0, 0] == 0
    assert bands.segments[-1, 1] == len(bands.qpoints)
    for start, stop in bands.segments:
        lengths = np.linalg.norm(np.diff(bands.qpoints[start:stop], axis=0) @ reciprocal, axis=1)
        np.testing.assert_allclose(np.diff(bands.distances[start:stop]), lengths, atol=1e-12)
    for (_, stop), (start, _) in zip(bands.segments, bands.segments[1:], strict=False):
        assert bands.distances[start] == pytest.approx(bands.distances[stop - 1])


def test_dos_counts_three_modes(phonons):
    dos = phonons.dos
    assert np.trapezoid(dos.total_dos, dos.frequency_points) == pytest.approx(3, rel=0.01)
    assert dos.symbols == ['Al']
    assert np.trapezoid(dos.projected_dos[0], dos.frequency_points) == pytest.approx(3, rel=0.01)


@pytest.mark.parametrize('strain', [0.0, 0.004])
def test_dos_by_element_is_phonopys(springs, strain):
    """From the irreducible mesh here, by element from all its points there: springs between Cu at corners, Al on faces.

    Tetrahedra have less symmetry than a cubic crystal, so that both meshes differ there; strained, they do not.
    """
    atoms = bulk('Al', 'fcc', LATTICE, cubic=True)
    atoms.symbols[0] = 'Cu'
    shear = np.eye(3) + strain * np.array([[1, 2, 3], [2, 4, 5], [3, 5, -6]])
    atoms.set_cell(np.array(atoms.cell) @ shear, scale_atoms=True)
    mixed = dataclasses.replace(
        springs.force_constants(), array=np.empty(0), unitcell=atoms, supercell_matrix=np.diag([3, 3, 3]), _phonopy=[]
    )
    supercell = phonopy.Phonopy(to_phonopy(atoms), mixed.supercell_matrix, 'P', log_level=0).supercell
    array = np.zeros((4, len(supercell), 3, 3))
    for row, i in zip(array, np.unique(supercell.s2u_map), strict=True):
        row[i] = springs.blocks.sum(axis=0)
        for vector, block in zip(springs.vectors, springs.blocks, strict=True):
            scaled = (supercell.positions - supercell.positions[i] - vector @ shear) @ np.linalg.inv(supercell.cell)
            (j,) = np.flatnonzero(np.abs(scaled - np.rint(scaled)).max(axis=1) < 1e-6)
            row[j] -= block
    mixed = dataclasses.replace(mixed, array=array)
    dos = analyse(mixed, mesh_length=MESH, points_per_segment=3).dos
    points = dos.frequency_points
    phonon = mixed.to_phonopy()
    grid = {'freq_min': points[0], 'freq_max': points[-1], 'freq_pitch': points[1] - points[0]}
    phonon.run_mesh(MESH, is_gamma_center=True)
    phonon.run_total_dos(**grid)
    atol = 1e-9 * dos.total_dos.max()
    np.testing.assert_allclose(dos.total_dos, phonon.total_dos.dos, atol=atol)
    assert dos.symbols == ['Cu', 'Al']
    # sharp peaks, few points
    np.testing.assert_allclose(np.trapezoid(dos.projected_dos, points), [3, 9], rtol=0.06)
    if strain:
        phonon.run_mesh(MESH, is_gamma_center=True, is_mesh_symmetry=False, with_eigenvectors=True)
        phonon.run_projected_dos(**grid)
        of_atoms = phonon.projected_dos.projected_dos
        np.testing.assert_allclose(dos.projected_dos, [of_atoms[0], of_atoms[1:].sum(axis=0)], atol=atol)


def test_thermal_properties_are_the_harmonic_formula(springs, phonons):
    """Sums over the same mesh by the textbook formula, the three zero modes at Γ left out."""
    qpoints = mesh_of(phonons)
    energies = PLANCK_EV_PER_THZ * springs.frequencies(qpoints)[1:]
    thermal = phonons.thermal
    zero_point = energies.sum() / 2 / len(qpoints) * KJ_PER_MOL
    assert thermal.zero_point_energy == pytest.approx(zero_point, rel=1e-6)
    assert thermal.free_energy[0] == pytest.approx(zero_point, rel=1e-6)
    for kelvin in (100.0, 300.0, 1000.0):
        beta = 1 / (units.kB * kelvin)
        n = 1 / np.expm1(beta * energies)
        free = (energies / 2 + np.log(-np.expm1(-beta * energies)) / beta).sum() / len(qpoints)
        entropy = ((1 + n) * np.log1p(n) - n * np.log(n)).sum() * units.kB / len(qpoints)
        heat = ((beta * energies) ** 2 * n * (n + 1)).sum() * units.kB / len(qpoints)
        got = thermal.at(kelvin)
        assert got['free_energy'] == pytest.approx(free * KJ_PER_MOL, rel=1e-5)
        assert got['entropy'] == pytest.approx(entropy * KJ_PER_MOL * 1000, rel=1e-5)
        assert got['heat_capacity'] == pytest.approx(heat * KJ_PER_MOL * 1000, rel=1e-5)
    # Dulong and Petit, 3R
    assert thermal.heat_capacity[-1] == pytest.approx(3 * 8.314462618, rel=0.02)
    assert thermal.temperatures[0] == 0
    assert thermal.temperatures[-1] == 1000


def test_stable_crystal(springs, phonons):
    stability = phonons.stability
    assert set(stability.verdicts.values()) == {'stable'}
    assert stability.min_frequency > 0.1
    assert stability.unstable_fraction.max() == 0
    everywhere = np.concatenate((mesh_of(phonons), phonons.bands.qpoints))
    assert stability.max_frequency == pytest.approx(springs.frequencies(everywhere).max(), rel=1e-6)
    assert phonons.warnings == []
    assert not phonons.with_nac
    np.testing.assert_allclose(phonons.gamma_frequencies, 0, atol=1e-4)


def test_unstable_crystal_is_reported_not_repaired():
    """Repelling second neighbours: the curve is the share of the closed form's modes, squares below zero included."""
    springs = SpringCrystal(second=-0.6)
    phonons = analyse(springs.force_constants(), mesh_length=MESH, points_per_segment=11)
    stability, everywhere = phonons.stability, springs.frequencies(mesh_of(phonons))
    on_path = springs.frequencies(phonons.bands.qpoints)
    assert stability.min_frequency == pytest.approx(min(everywhere.min(), on_path.min()), rel=1e-6)
    assert stability.min_frequency < -0.5
    lowest = springs.frequencies([stability.min_frequency_qpoint])[0, 0]
    assert lowest == pytest.approx(stability.min_frequency, rel=1e-6)
    # thresholds at which no mode lies within rounding
    for threshold, fraction in zip(stability.thresholds, stability.unstable_fraction, strict=True):
        if np.abs(everywhere - threshold).min() > 1e-4:
            assert fraction == pytest.approx((everywhere < threshold).mean(), abs=1e-12)
    assert 0 < stability.unstable_fraction[-1] < 1
    assert np.all(np.diff(stability.unstable_fraction) >= 0)
    assert set(stability.verdicts.values()) == {'unstable'}
    assert any('imaginary' in text for text in phonons.warnings)


@pytest.mark.parametrize(('spread', 'is_said'), [(50.0, True), (0.1, False), (None, False)])
@pytest.mark.parametrize(
    ('name', 'words'), [('uncertainty', 'uncertainty of the potential'), ('truncation_error', 'truncation error')]
)
def test_an_imaginary_mode_within_what_is_not_known(name, words, spread, is_said):
    found = SpringCrystal(second=-0.6).force_constants()
    found = dataclasses.replace(found, quality=dataclasses.replace(found.quality, **{name: spread}))
    phonons = analyse(found, mesh_length=MESH, points_per_segment=11)
    assert -50 < phonons.stability.min_frequency < -0.5
    assert any(words in text for text in phonons.warnings) is is_said


def test_broken_sum_rule_is_noise_and_is_said():
    """A shift of the on-site block by -δ makes three modes of -√(δ/m) at Γ: the noise floor covers them."""
    springs = SpringCrystal()
    shift = 1e-4
    force_constants = springs.force_constants(on_site=-shift)
    phonons = analyse(force_constants, mesh_length=MESH, points_per_segment=11)
    floor = np.sqrt(shift / springs.phonon.primitive.masses[0]) * FREQUENCY_FACTOR_THZ
    assert phonons.stability.noise_floor == pytest.approx(floor * NOISE_SAFETY**0.5, rel=1e-6)
    np.testing.assert_allclose(phonons.gamma_frequencies, -floor, rtol=1e-4)
    assert phonons.stability.verdicts['zero'] == 'stable'
    assert any('acoustic sum residual 1.0e-04' in text for text in phonons.warnings)


def test_what_is_given_is_not_symmetrised():
    force_constants = SpringCrystal().force_constants(on_site=-1e-4)
    before = force_constants.array.copy()
    analyse(force_constants, mesh_length=MESH, points_per_segment=5)
    np.testing.assert_array_equal(force_constants.array, before)
    np.testing.assert_array_equal(force_constants.to_phonopy().force_constants, before)


@pytest.mark.skipif(
    not (REFERENCES / 'NaCl_vasp').is_dir(), reason='the folder of DFT references is not beside the clone'
)
def test_sodium_chloride_with_born_charges():
    """LO and TO at Γ as VASP's force constants give them; without charges there is no splitting."""
    loaded = phonopy.load(
        REFERENCES / 'NaCl_vasp' / 'phonopy_params.yaml', log_level=0, symmetrize_fc=False, fc_calculator='traditional'
    )
    loaded.symmetrize_force_constants()
    array = loaded.force_constants
    if array.shape[0] != len(loaded.primitive):
        array = array[loaded.primitive.p2s_map]
    quality = Quality('finite_difference', 'float64', 0.0, 0.0, 0.0, 2, 0.0, 0.0)
    charged = ForceConstants(
        np.array(array),
        to_ase(loaded.unitcell),
        np.array(loaded.supercell_matrix),
        np.array(loaded.primitive_matrix),
        quality,
        loaded.nac_params,
    )
    neutral = dataclasses.replace(charged, nac_params=None, _phonopy=[])
    with_nac = analyse(charged, mesh_length=20.0, points_per_segment=11)
    without = analyse(neutral, mesh_length=20.0, points_per_segment=11)
    first = with_nac.bands.frequencies[0]
    assert with_nac.with_nac
    assert first[5] == pytest.approx(7.4, abs=0.15)
    np.testing.assert_allclose(first[3:5], 4.6, atol=0.15)
    np.testing.assert_allclose(without.bands.frequencies[0][3:], first[3], atol=0.02)
    assert not without.with_nac
    assert with_nac.dos.symbols == ['Na', 'Cl']
    assert set(with_nac.stability.verdicts.values()) == {'stable'}
