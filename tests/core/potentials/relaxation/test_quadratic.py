"""The minimiser within a ball is the global one: optimality conditions, and no sampled point lies lower."""

import numpy as np
import pytest

from aiida_mlfc.core.potentials.relaxation.quadratic import QuadraticModel, minimise_in_ball


def symmetric(n, seed, lowest):
    values = np.linspace(lowest, 5.0, n)
    vectors, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))
    return (vectors * values) @ vectors.T, vectors


@pytest.mark.parametrize('n', [1, 2, 6])
@pytest.mark.parametrize('lowest', [0.5, -2.0])
@pytest.mark.parametrize('radius', [1e-3, 0.3, 10.0])
def test_conditions_of_optimality(n, lowest, radius):
    hessian, _ = symmetric(n, 3, lowest)
    gradient = np.random.default_rng(4).standard_normal(n)
    s, shift = minimise_in_ball(gradient, hessian, radius)
    np.testing.assert_allclose(hessian @ s + shift * s, -gradient, atol=1e-8)
    assert np.linalg.eigvalsh(hessian)[0] + shift >= -1e-10
    assert shift >= 0
    assert np.linalg.norm(s) <= radius * (1 + 1e-9)
    assert shift == 0 or np.linalg.norm(s) == pytest.approx(radius)


@pytest.mark.parametrize('push', [0.0, 1e-14])
def test_stationary_point_that_is_no_minimum_is_left(push):
    """The hard case: the gradient says nothing about the direction downhill."""
    hessian, vectors = symmetric(4, 1, -1.0)
    gradient = vectors[:, 2] * 0.1 + push * vectors[:, 0]
    s, _ = minimise_in_ball(gradient, hessian, 0.5)
    assert np.linalg.norm(s) == pytest.approx(0.5)
    samples = np.random.default_rng(0).standard_normal((20000, 4))
    samples *= 0.5 / np.linalg.norm(samples, axis=1)[:, None]
    values = samples @ gradient + np.einsum('si,ij,sj->s', samples, hessian, samples) / 2
    assert gradient @ s + s @ hessian @ s / 2 <= values.min()
    assert gradient @ s + s @ hessian @ s / 2 == pytest.approx(values.min(), rel=0.05)


def test_nothing_to_do():
    hessian, _ = symmetric(3, 1, 0.5)
    s, shift = minimise_in_ball(np.zeros(3), hessian, 0.1)
    np.testing.assert_array_equal(s, 0)
    assert shift == 0


def test_subspace_grows_to_the_whole():
    """With every direction multiplied the model is the exact one; with one, it is the line search along it."""
    hessian, _ = symmetric(5, 2, 0.5)
    gradient = np.random.default_rng(7).standard_normal(5)
    model = QuadraticModel(gradient)
    rest = gradient
    for k in range(5):
        vector = model.orthonormal(rest)
        model.add(vector, hessian @ vector)
        s, decrease, rest = model.step(100.0)
        np.testing.assert_allclose(rest, gradient + hessian @ s, atol=1e-10)
        assert decrease == pytest.approx(-(gradient @ s) - s @ hessian @ s / 2)
        if k == 0:
            np.testing.assert_allclose(s, -gradient * (gradient @ gradient) / (gradient @ hessian @ gradient))
    np.testing.assert_allclose(s, -np.linalg.solve(hessian, gradient), atol=1e-10)
    assert model.is_complete
    assert model.orthonormal(gradient) is None
    assert model.lowest_eigenvalue() == pytest.approx(0.5)
