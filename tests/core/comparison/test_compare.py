"""A crystal compared with itself, however it is written down; with another; with one that differs by what is known."""

import json

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from phonopy import Phonopy

from aiida_mlfc.core.comparison.compare import KELVIN_PER_THZ, compare
from aiida_mlfc.core.comparison.matching import ComparisonError
from aiida_mlfc.core.comparison.record import ROW_KEYS
from aiida_mlfc.core.force_constants.record import ForceConstants
from aiida_mlfc.core.structures.cells import to_ase, to_phonopy

from .crystals import QUALITY, force_constants_of, low_symmetry, rewritten, wurtzite

MESH, POINTS = 10.0, 4
ERRORS = (
    'relative_frobenius',
    'frequency_mae',
    'frequency_max_error',
    'max_frequency_error',
    'free_energy_error',
    'entropy_error',
    'heat_capacity_error',
)


@pytest.fixture(scope='module')
def rocksalt():
    """With Born charges."""
    given = force_constants_of(bulk('NaCl', 'rocksalt', a=5.64), (2, 2, 2), polar=True)
    given.nac_params.update(born=[1.1 * np.eye(3), -1.1 * np.eye(3)], dielectric=2.5 * np.eye(3))
    return given


@pytest.fixture(scope='module')
def zinc_oxide():
    return force_constants_of(wurtzite(), (3, 3, 2), polar=True)


@pytest.fixture(scope='module')
def triclinic():
    return force_constants_of(low_symmetry(), (2, 2, 2))


@pytest.mark.parametrize('name', ['rocksalt', 'zinc_oxide', 'triclinic'])
def test_itself_is_exactly_zero(name, request):
    given = request.getfixturevalue(name)
    found = compare(given, given, name, mesh_length=MESH, points_per_segment=POINTS).summary
    row = found.row()
    assert tuple(row) == ROW_KEYS
    assert {key: row[key] for key in ERRORS} == dict.fromkeys(ERRORS, 0.0)
    assert row['status'] == 'ok'
    for errors in (found.mesh, found.commensurate, found.path):
        assert errors.mae == errors.rmse == errors.max == 0.0
        assert not any(errors.per_band)
    assert all(shell.mae == 0.0 for shell in found.force_constants.shells)


@pytest.mark.parametrize(
    ('name', 'unit', 'mirror'),
    [
        ('rocksalt', [[1, 0, 0], [0, 1, 0], [0, 0, 1]], False),
        ('rocksalt', [[1, 1, 0], [0, 1, 1], [0, 0, 1]], True),
        ('rocksalt', [[-1, 1, 1], [1, -1, 1], [1, 1, -1]], False),
        ('zinc_oxide', [[1, 0, 0], [1, 1, 0], [0, 0, 1]], False),
        ('zinc_oxide', [[0, 0, 1], [1, 0, 0], [0, 1, 0]], True),
        ('zinc_oxide', [[1, 1, 0], [-1, 2, 0], [0, 0, 1]], False),
        ('triclinic', [[1, 1, 0], [0, 1, 0], [0, 1, 1]], False),
        ('triclinic', [[0, 1, 0], [0, 0, 1], [1, 0, 0]], True),
    ],
)
def test_itself_written_in_another_way_is_zero_to_rounding(name, unit, mirror, request):
    """Another orientation (mirrored too), order of atoms, origin, and choice of unit or primitive cell."""
    given = request.getfixturevalue(name)
    other = rewritten(given, np.array(unit), seed=3, mirror=mirror)
    found = compare(given, other, name, mesh_length=MESH, points_per_segment=POINTS).summary
    assert found.force_constants is not None, found.no_force_constants
    assert found.force_constants.relative_frobenius < 1e-9
    assert max(found.mesh.max, found.commensurate.max, found.path.max) < 1e-5
    row = found.row()
    assert all(abs(row[key]) < 1e-4 for key in ERRORS)
    assert found.nac == ('none' if name == 'triclinic' else 'own')
    # and the other way round, where b is what was given
    back = compare(other, given, name, mesh_length=MESH, points_per_segment=POINTS).summary
    assert back.force_constants.relative_frobenius < 1e-9
    assert back.mesh.max < 1e-5


def test_all_springs_stretched_scale_every_frequency():
    """Φ → 1.21 Φ: the relative Frobenius error is 0.21, every frequency is 10 % up; the norm of zero is 1."""
    atoms = bulk('Al', 'fcc', a=4.05)
    soft, hard = force_constants_of(atoms, (3, 3, 3)), force_constants_of(atoms, (3, 3, 3), stretch=1.21)
    found = compare(soft, hard, mesh_length=MESH, points_per_segment=POINTS)
    assert found.summary.force_constants.relative_frobenius == pytest.approx(0.21, rel=1e-10)
    np.testing.assert_allclose(found.sampling.mesh.b, 1.1 * found.sampling.mesh.a, atol=1e-7)
    row = found.summary.row()
    assert row['max_frequency_error'] == pytest.approx(0.1 * found.summary.a.max_frequency * KELVIN_PER_THZ, rel=1e-6)
    assert found.summary.free_energy_error > 0 > found.summary.entropy_error
    assert pytest.approx(47.9924, rel=1e-5) == KELVIN_PER_THZ
    shells = found.summary.force_constants.shells
    # twelve nearest neighbours at a/√2
    assert shells[1].n_pairs == 12
    assert shells[1].distance == pytest.approx(4.05 / 2**0.5)


def test_supercells_that_differ_give_frequencies_and_no_norm(triclinic):
    larger = force_constants_of(low_symmetry(), (3, 2, 2))
    found = compare(triclinic, larger, mesh_length=MESH, points_per_segment=POINTS).summary
    assert found.force_constants is None
    assert '24' in found.no_force_constants
    assert '36' in found.no_force_constants
    assert found.row()['relative_frobenius'] is None
    assert found.mesh.mae > 0


@pytest.mark.parametrize('unit', [[[1, 0, 0], [1, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 0], [-1, 0, 1]]])
def test_supercells_that_differ_in_cells_of_another_basis(unit):
    """Bases that are related by a determinant of -1, and supercells that no symmetry lays on each other."""
    silicon = bulk('Si', 'diamond', a=5.43)
    given = force_constants_of(silicon, (2, 2, 2))
    other = rewritten(force_constants_of(silicon, (1, 2, 2)), np.array(unit), seed=3)
    found = compare(given, other, mesh_length=MESH, points_per_segment=POINTS)
    assert not found.aligned.same_supercell
    assert found.summary.force_constants is None
    assert np.linalg.det(found.aligned.b.force_constants.supercell_matrix) > 0
    # what b is, it stays: frequencies at Γ, which any basis shares, and its own extremes
    same = compare(other, other, mesh_length=MESH, points_per_segment=POINTS)
    gamma = np.zeros((1, 3))
    b, alone = (x.aligned.b.force_constants.to_phonopy().run_qpoints(gamma).frequencies for x in (found, same))
    np.testing.assert_allclose(b, alone, atol=1e-6)


def test_a_supercell_turned_by_the_symmetry_of_the_crystal_is_the_same():
    """3 x 2 x 2 of a cubic crystal against 2 x 2 x 3 of it."""
    atoms = bulk('CsCl', 'cesiumchloride', a=4.1)
    found = compare(
        force_constants_of(atoms, (3, 2, 2)),
        force_constants_of(atoms, (2, 2, 3)),
        mesh_length=MESH,
        points_per_segment=POINTS,
    )
    assert found.aligned.same_supercell


def test_another_lattice_constant_is_compared_and_reported():
    """2 % longer, springs the same in reduced coordinates: frequencies at equal reduced wave vectors agree."""
    near = bulk('Al', 'fcc', a=4.05)
    given = force_constants_of(near, (3, 3, 3))
    far = ForceConstants(
        given.array, bulk('Al', 'fcc', a=4.05 * 1.02), given.supercell_matrix, given.primitive_matrix, QUALITY
    )
    found = compare(given, far, mesh_length=MESH, points_per_segment=POINTS).summary
    assert found.geometry.strain == pytest.approx(0.02, rel=1e-6)
    assert found.geometry.volume_change == pytest.approx(1.02**3 - 1, rel=1e-6)
    assert found.force_constants.relative_frobenius < 1e-12
    assert found.mesh.max < 1e-6
    assert 'strain 2 %' in found.warnings[0]


def test_other_crystals_are_refused(rocksalt, zinc_oxide):
    with pytest.raises(ComparisonError, match='different materials: NaCl against ZnO'):
        compare(rocksalt, zinc_oxide)
    potassium = force_constants_of(bulk('NaCl', 'cesiumchloride', a=3.4), (2, 2, 2))
    with pytest.raises(ComparisonError, match=r'lattices differ.*Å³ per atom'):
        compare(rocksalt, potassium)
    aluminium = force_constants_of(bulk('Al', 'fcc', a=4.05), (2, 2, 2))
    with pytest.raises(ComparisonError, match='lattices differ by more than 6 %'):
        compare(aluminium, force_constants_of(bulk('Al', 'fcc', a=4.5), (2, 2, 2)))


def test_born_charges_on_one_side_only_are_refused(rocksalt):
    bare = ForceConstants(
        rocksalt.array, rocksalt.unitcell, rocksalt.supercell_matrix, rocksalt.primitive_matrix, QUALITY
    )
    for pair in ((rocksalt, bare), (bare, rocksalt)):
        with pytest.raises(ComparisonError, match=r"has Born charges.*'shared'"):
            compare(*pair, mesh_length=MESH, points_per_segment=POINTS)
    found = {
        policy: compare(bare, rocksalt, nac=policy, mesh_length=MESH, points_per_segment=POINTS)
        for policy in ('shared', 'off')
    }
    for policy, compared in found.items():
        assert compared.summary.mesh.max == 0.0
        assert compared.summary.nac == policy
    # the charges matter: LO is where it should be, above TO
    with_charges, without = (found[policy].sampling.bands_a.frequencies.max() for policy in ('shared', 'off'))
    assert with_charges > without + 0.1


def test_one_sided_and_central_differences_differ_by_their_step():
    """Real anharmonic forces (EMT): where no symmetry turns u into -u, F has a part ∝ u², so a one-sided difference is
    off by O(u) and a central one by O(u²)."""
    atoms = bulk('CuAu', 'wurtzite', a=4.3, c=7.1, u=0.38)
    exact = _differences(atoms, 0.001, True)
    errors = {}
    for both in (False, True):
        for step in (0.02, 0.04):
            given = _differences(atoms, step, both)
            errors[both, step] = compare(
                exact, given, mesh_length=MESH, points_per_segment=POINTS
            ).summary.force_constants.relative_frobenius
    assert errors[False, 0.04] / errors[False, 0.02] == pytest.approx(2.0, rel=0.2)
    assert errors[True, 0.04] / errors[True, 0.02] == pytest.approx(4.0, rel=0.2)
    assert errors[False, 0.02] > 3 * errors[True, 0.02]


def _differences(atoms, step, both_signs):
    """phonopy's own finite differences, plus and minus or plus alone."""
    phonon = Phonopy(to_phonopy(atoms), np.diag([2, 2, 2]), primitive_matrix='P', log_level=0)
    phonon.generate_displacements(distance=step, is_plusminus=both_signs)
    forces = []
    for supercell in phonon.supercells_with_displacements:
        displaced = to_ase(supercell)
        displaced.calc = EMT()
        forces.append(displaced.get_forces())
    phonon.forces = forces
    phonon.produce_force_constants(calculate_full_force_constants=False, show_drift=False)
    return ForceConstants(phonon.force_constants, atoms, np.diag([2, 2, 2]), np.eye(3), QUALITY)


def test_result_is_json_without_nan(triclinic):
    found = compare(triclinic, triclinic, 'x', mesh_length=MESH, points_per_segment=POINTS).summary
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))['name'] == 'x'
