"""A potential with charges of its own, from the job to bands: LO-TO splitting that nobody gave Born charges for."""

import numpy as np
import pytest
from ase.build import bulk

from aiida_mlfc import compute_force_constants, dynamical_matrices
from aiida_mlfc.core.potentials.checkpoints import load_dx, save_dx
from aiida_mlfc.core.units import COULOMB_EV_ANGSTROM
from aiida_mlfc.exchange.job import structure_arrays
from aiida_mlfc.runner.bloch_phases import frequencies
from aiida_mlfc.runner.options import ForceConstantsOptions
from aiida_mlfc.runner.tasks import run_force_constants

from ..core.small_systems import small_dx

SALT = bulk('NaCl', 'rocksalt', a=5.64)


@pytest.fixture(scope='module')
def model():
    found = small_dx(electrostatics=True)
    found.electrostatics.give(np.array([0.7, 0.0, 0.0, -0.7]), 'a test')
    return found


@pytest.fixture(scope='module')
def computed(model):
    return compute_force_constants(SALT, [3, 3, 3], model)


def test_potential_brings_its_own_correction(computed):
    np.testing.assert_allclose(computed.nac_params['born'], [0.7 * np.eye(3), -0.7 * np.eye(3)], atol=1e-14)
    given = {'born': np.array([np.eye(3), -np.eye(3)]), 'dielectric': 2.5 * np.eye(3), 'factor': COULOMB_EV_ANGSTROM}
    other = compute_force_constants(SALT, [2, 2, 2], small_dx(electrostatics=True), nac_params=given)
    assert other.nac_params is given


def test_interpolation_meets_the_exact_longitudinal_mode(computed, model):
    """Close to Γ, where without the correction the longitudinal mode falls onto the transverse ones."""
    q = [[0.02, 0.02, 0.0]]
    exact = frequencies(dynamical_matrices(SALT, q, model))[0]
    with_charges = computed.for_frequencies().run_qpoints(q).frequencies[0]
    without = compute_force_constants(SALT, [3, 3, 3], model)
    phonon = without.for_frequencies()
    phonon.nac_params = None
    np.testing.assert_allclose(with_charges, exact, atol=0.02)
    assert np.abs(phonon.run_qpoints(q).frequencies[0] - exact).max() > 0.5


def test_truncation_error_knows_the_charges(computed):
    assert computed.quality.truncation_error < 0.05


def test_elements_have_no_correction(model):
    assert compute_force_constants(bulk('Si', 'diamond', a=5.43), [2, 2, 2], model).nac_params is None


def test_job_writes_them_unless_they_were_given(model, tmp_path):
    inputs = {'structure': structure_arrays(SALT)}
    options = ForceConstantsOptions(supercell_matrix=[2, 2, 2])
    data, write = run_force_constants(inputs, options, model)
    np.testing.assert_allclose(data['nac_params']['born'][0], 0.7 * np.eye(3), atol=1e-14)
    write(tmp_path)
    given = {'born': np.array([np.eye(3), -np.eye(3)]), 'dielectric': 2.5 * np.eye(3), 'factor': COULOMB_EV_ANGSTROM}
    assert 'nac_params' not in run_force_constants({**inputs, 'nac_params': given}, options, model)[0]


def test_checkpoint_keeps_them(model, tmp_path):
    save_dx(model, tmp_path / 'salt.safetensors')
    loaded = load_dx(tmp_path / 'salt.safetensors')
    assert loaded.long_range.charges.tolist() == pytest.approx([0.7, 0, 0, -0.7])
