"""The last-layer ensemble: linear as it says, calibrated as it says, larger where it should be."""

from dataclasses import replace

import numpy as np
import pytest

from aiida_mlfc.core.potentials.ensemble import UNCERTAINTY, last_layer, members, with_last_weights
from aiida_mlfc.core.potentials.mattersim.weights import load_mattersim
from aiida_mlfc.core.potentials.training.batches import prepare
from aiida_mlfc.core.potentials.training.uncertainty import (
    DRAWS,
    Spread,
    draw_members,
    force_features,
    uncertainty_entry,
)
from aiida_mlfc.core.potentials.training.validation import hessian_at_rest

from ...small_systems import small_dx
from ..mattersim.reference_values import TINY


@pytest.fixture(scope='module')
def model():
    return small_dx(n_layers=1)


@pytest.fixture(scope='module')
def material(reference, model):
    return prepare(reference, model)


def models(reference):
    for model in (small_dx(n_layers=1), load_mattersim(TINY)):
        yield model, prepare(reference, model).cells[0]


def test_features_are_the_derivatives_of_forces(reference):
    """Forces are linear in the weights: a difference of any size is exact, for both architectures."""
    for model, cell in models(reference):
        u = 0.05 * np.random.default_rng(0).standard_normal((cell.graph.n_atoms, 3))
        weights = last_layer(model).weight.detach().numpy()[0].copy()
        change = np.random.default_rng(1).standard_normal(len(weights))
        before, features = force_features(model, cell, u)
        after, _ = force_features(with_last_weights(model, weights + change), cell, u)
        np.testing.assert_allclose(after - before, features @ change, atol=1e-10 * np.abs(after - before).max())
        assert np.array_equal(last_layer(model).weight.detach().numpy()[0], weights)


def test_members_have_the_posterior_covariance(model, material):
    """Many members: their covariance times (JᵀJ + λ) is the mean squared residual, up to noise."""
    differences = draw_members(model, [material], 4000, np.random.default_rng(0))
    assert np.abs(differences.mean(axis=0)).max() < 1e-12
    rng = np.random.default_rng(0)
    normal, residuals = 0.0, []
    for cell in material.cells:
        for _ in range(DRAWS):
            u, force, factor = cell.draw('half', rng)
            found, features = force_features(model, cell, u)
            features = features * factor.reshape(-1, 1)
            normal = normal + features.T @ features
            residuals.append(((found - force.ravel()) * factor.ravel()) ** 2)
    normal += 1e-4 * np.trace(normal) / len(normal) * np.eye(len(normal))
    product = np.cov(differences.T) @ normal / np.concatenate(residuals).mean()
    assert np.trace(product) == pytest.approx(len(normal), rel=0.1)


@pytest.fixture(scope='module')
def calibrated(model, material, reference):
    cells = prepare(reference.part(1), model).cells[:2]
    return uncertainty_entry(model, [material], cells, 3, 0, 'the other half'), cells


def test_spread_is_as_large_as_the_error(calibrated, model):
    """What is written is what comes back: the members of the card spread as much as the card says."""
    entry, cells = calibrated
    assert entry['rms spread there in THz'] == pytest.approx(entry['rms error there in THz'], rel=0.02)
    weights = last_layer(model).weight.detach().numpy()[0]
    carried = small_dx(n_layers=1)
    carried.metadata[UNCERTAINTY] = entry
    found = np.array([last_layer(member).weight.detach().numpy()[0] - weights for member in members(carried)])
    assert found.shape == (3, len(weights))
    spread, error = Spread(model, found, cells).at(1.0)
    assert spread == pytest.approx(entry['rms spread there in THz'], rel=1e-5)
    assert error == pytest.approx(entry['rms error there in THz'], rel=1e-12)
    # linear in the weights: half the differences scaled by two are the same ensemble
    assert Spread(model, found / 2, cells[:1]).at(2.0) == pytest.approx(Spread(model, found, cells[:1]).at(1.0))


def test_same_seed_same_members(model, material):
    one, again, other = (draw_members(model, [material], 3, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert np.array_equal(one, again)
    assert not np.allclose(one, other)


def test_cards_without_and_with_wrong_members(calibrated, model):
    assert list(members(small_dx(n_layers=1))) == []
    other = small_dx(n_layers=1, channels=4)
    other.metadata[UNCERTAINTY] = calibrated[0]
    with pytest.raises(ValueError, match='wanted 3 members of 4'):
        list(members(other))


@pytest.mark.parametrize('missing', ['spread', 'error'])
def test_no_scale_without_a_spread_or_without_an_error(model, reference, missing):
    """Members that are all alike; and labels that the model itself made."""
    (cell,) = prepare(reference.part(1), model).cells[:1]
    n = last_layer(model).in_features
    differences = np.zeros((3, n)) if missing == 'spread' else np.random.default_rng(0).standard_normal((3, n))
    if missing == 'error':
        cell = replace(cell, hessian=hessian_at_rest(model, cell))
    with pytest.raises(RuntimeError, match='uncertainty: the spread of the ensemble is'):
        Spread(model, differences, [cell]).calibrated()
