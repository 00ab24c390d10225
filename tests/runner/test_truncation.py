"""The truncation error against brute force: a supercell so large that nothing is folded any more."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from phonopy.harmonic.dynmat_to_fc import get_commensurate_points

from aiida_mlfc import compute_force_constants, load_potential
from aiida_mlfc.core.force_constants.irreducible import set_up
from aiida_mlfc.core.structures.operations import operations_of
from aiida_mlfc.runner.auto_supercell import TruncationWarning, find_supercell
from aiida_mlfc.runner.engines import QSpace
from aiida_mlfc.runner.truncation import measure_truncation, most_unstable, points_between

from ..core.small_systems import EmbeddedAtoms


@pytest.fixture(scope='module')
def model():
    return EmbeddedAtoms()


@pytest.mark.filterwarnings('ignore:Warning. Point group symmetries of supercell:UserWarning')  # on purpose
@pytest.mark.parametrize('cubic', [False, True])
def test_points_lie_between_those_of_the_supercell(model, cubic):
    atoms = bulk('Si', 'diamond', a=5.43, cubic=cubic)
    found = compute_force_constants(atoms, [3, 2, 2], model, truncation_qpoints=0)
    primitive = found.to_phonopy().primitive
    qpoints = points_between(found, operations_of(bulk('Si', 'diamond', a=5.43)), 5)
    assert 1 < len(qpoints) <= 5
    supercell = np.rint(np.linalg.inv(primitive.primitive_matrix))
    # q·S is half an integer along each supercell vector
    halves = qpoints @ supercell - 0.5
    np.testing.assert_allclose(halves, np.rint(halves), rtol=0, atol=1e-10)
    fitting = get_commensurate_points(supercell.astype(int))
    assert np.abs(qpoints[:, None] - fitting - np.rint(qpoints[:, None] - fitting)).max(axis=2).min() > 0.1


def test_error_is_that_of_a_supercell_without_folding(model):
    """5 x 5 x 5 holds twice the interaction of the toy model: its own interpolation is exact."""
    atoms = bulk('Si', 'diamond', a=5.43)
    small, large = (compute_force_constants(atoms, [n, n, n], model, primitive_matrix=np.eye(3)) for n in (2, 5))
    assert large.quality.truncation_error < 1e-6
    # the toy is unstable: its lowest mode is looked at, too
    between = points_between(small, operations_of(atoms), small.quality.truncation_qpoints - 1)
    qpoints = np.vstack([between, most_unstable(small.to_phonopy())])
    frequencies = []
    for found in (small, large):
        phonon = found.to_phonopy()
        phonon.run_qpoints(qpoints)
        frequencies.append(phonon.qpoints.frequencies)
    differences = np.abs(frequencies[0] - frequencies[1])
    assert small.quality.truncation_error == pytest.approx(differences.max(), abs=1e-6)
    assert small.quality.truncation_mean_error == pytest.approx(differences.mean(), abs=1e-6)
    assert small.quality.truncation_error > 0.01


def test_no_more_is_spent_on_it_than_asked(model):
    found = compute_force_constants(bulk('Si', 'diamond', a=5.43), [4, 4, 4], model, truncation_qpoints=0)
    setup = set_up(bulk('Si', 'diamond', a=5.43), np.array([4, 4, 4]))
    qspace = QSpace.of(setup, model)
    # the toy is unstable, and its lowest mode is looked at whatever it costs
    four = measure_truncation(found, qspace, 4)
    assert len(four.qpoints) == 4 + 1
    cost = qspace.at(four.qpoints[:4]).cost
    assert len(measure_truncation(found, qspace, 4, cost).qpoints) == 4 + 1
    assert len(measure_truncation(found, qspace, 4, 0.76 * cost).qpoints) == 3 + 1
    assert len(measure_truncation(found, qspace, 4, 0.0).qpoints) == 2 + 1
    assert len(measure_truncation(found, qspace, 1, 0.0).qpoints) == 1 + 1


def test_long_waves_that_a_supercell_makes_unstable_are_looked_at(model):
    """Wherever the lowest mode is, it is compared with the exact one."""
    atoms = bulk('Si', 'diamond', a=5.43)
    setup = set_up(atoms, np.array([2, 2, 2]))
    found = compute_force_constants(atoms, [2, 2, 2], model, primitive_matrix=np.eye(3), truncation_qpoints=0)
    qspace = QSpace.of(setup, model)
    mesh = found.to_phonopy()
    q = most_unstable(mesh)
    frequencies = np.asarray(mesh.mesh.frequencies)
    assert frequencies.min() < -1
    mesh.run_qpoints([q])
    assert mesh.qpoints.frequencies.min() == pytest.approx(frequencies.min(), abs=1e-9)
    measured = measure_truncation(found, qspace, 2)
    assert measured.qpoints[-1] == pytest.approx(q)
    # turned around, the lowest mode is elsewhere, and the exact one is far from it
    turned = replace(found, array=-found.array)
    lowest = measure_truncation(turned, qspace, 2)
    assert lowest.qpoints[-1] == pytest.approx(most_unstable(turned.to_phonopy()))
    assert lowest.differences[-1].max() > frequencies.max()


def test_stable_crystals_cost_nothing_more():
    model = load_potential('dx-demo')
    atoms = bulk('Si', 'diamond', a=5.4336)
    found = compute_force_constants(atoms, [4, 4, 4], model)
    assert most_unstable(found.to_phonopy()) is None
    assert found.quality.truncation_qpoints <= 4


def test_finite_differences_and_nac_are_measured_too(model):
    atoms = bulk('NaCl', 'rocksalt', a=5.64)
    nac = {'born': np.array([np.eye(3), -np.eye(3)]), 'dielectric': 2.4 * np.eye(3), 'factor': 14.4}
    plain, polar, differences = (
        compute_force_constants(atoms, [2, 2, 2], model, **changes)
        for changes in ({}, {'nac_params': nac}, {'method': 'finite_difference'})
    )
    # of the short-ranged part, with Born charges or without; those stay where they were
    assert polar.quality.truncation_error == plain.quality.truncation_error
    assert polar.to_phonopy().nac_params is not None
    assert differences.quality.truncation_error == pytest.approx(plain.quality.truncation_error, abs=1e-3)
    assert compute_force_constants(atoms, [2, 2, 2], model, truncation_qpoints=0).quality.truncation_error is None


def test_auto_takes_the_smallest_supercell_that_is_good_enough(model):
    atoms = bulk('Si', 'diamond', a=5.43)
    found = compute_force_constants(atoms, 'auto', model, tolerance=1e-4)
    curve = found.quality.supercell_search
    *larger, last = [entry['truncation_error'] for entry in curve]
    assert last < 1e-4 <= min(larger)
    assert found.quality.truncation_error == pytest.approx(last, abs=1e-9)
    assert found.supercell_matrix.diagonal().tolist() == curve[-1]['repeats']
    assert [entry['n_atoms'] for entry in curve] == sorted(entry['n_atoms'] for entry in curve)
    assert find_supercell(atoms, model, 1e9, 100)[0].diagonal().tolist() == [2, 2, 2]


@pytest.mark.parametrize('options', [{'truncation_qpoints': 0}, {'method': 'gauss_newton'}])
def test_what_auto_tried_is_kept_where_no_truncation_error_is_asked_for(model, options):
    found = compute_force_constants(bulk('Si', 'diamond', a=5.43), 'auto', model, tolerance=1e9, **options)
    assert found.quality.truncation_error is None
    (tried,) = found.quality.supercell_search
    assert tried['repeats'] == [2, 2, 2]
    assert tried['n_atoms'] == 16


def test_auto_says_when_it_is_not_good_enough(model):
    with pytest.warns(TruncationWarning, match='truncation error .* in the largest supercell of at most 20 atoms'):
        matrix, curve = find_supercell(bulk('Si', 'diamond', a=5.43), model, 1e-9, 20)
    assert matrix.diagonal().tolist() == [2, 2, 2]
    assert len(curve) == 1
    with pytest.raises(ValueError, match='at most 4'):
        find_supercell(bulk('Si', 'diamond', a=5.43), model, 0.02, 4)
