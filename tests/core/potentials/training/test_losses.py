"""Every loss against a closed form."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from aiida_mlfc.core.potentials.training import losses
from aiida_mlfc.core.units import FREQUENCY_FACTOR_THZ

N = 6


def chain(spring):
    """The Hessian of a ring of N atoms that move along it: 2k on the diagonal, -k beside it."""
    unit = torch.eye(N, dtype=torch.float64)
    return spring * (2 * unit - unit.roll(1, 0) - unit.roll(-1, 0))


def symmetric(seed, n=3 * N):
    matrix = torch.randn(n, n, dtype=torch.float64, generator=torch.manual_seed(seed))
    return matrix + matrix.T


def test_energy_per_atom():
    found = losses.energy_per_atom(torch.tensor([2.0, 6.0]), torch.zeros(2), torch.tensor([2.0, 3.0]))
    assert found == pytest.approx((1**2 + 2**2) / 2)


def test_force_and_stress():
    forces = torch.randn(4, 3)
    assert losses.force(forces + 0.3, forces).item() == pytest.approx(0.09, rel=1e-5)
    stress = torch.diag_embed(torch.tensor([[1.0, 2.0, 2.0], [0.0, 3.0, 0.0]]))
    assert losses.stress(stress, torch.zeros_like(stress)) == pytest.approx(9.0)


def test_column_of_a_chain():
    """One atom displaced: 2k on itself, -k on both neighbours, so |Δk| (2 + 1 + 1) / N."""
    found = losses.force_constant_column(chain(1.0)[:, 2], chain(0.7)[:, 2])
    assert found == pytest.approx(0.3 * 4 / N)


def test_frobenius_is_exact_with_a_basis():
    """With ⟨v vᵀ⟩ = 1 exactly: unit vectors times √n, and any rotation of them."""
    hessian, expected = symmetric(0), symmetric(1)
    wanted = (hessian - expected).square().sum()
    basis = torch.linalg.qr(symmetric(2))[0]
    for vectors in (torch.eye(3 * N, dtype=torch.float64), basis):
        scaled = math.sqrt(3 * N) * vectors
        torch.testing.assert_close(losses.frobenius(scaled @ hessian, scaled @ expected), wanted)
        torch.testing.assert_close(
            losses.relative_frobenius(vectors @ hessian, vectors @ expected), (wanted / expected.square().sum()).sqrt()
        )


def test_frobenius_is_unbiased_with_random_vectors():
    """The mean over Gaussian vectors has variance 2 |DᵀD|² / n_vectors."""
    difference, n_vectors = symmetric(3), 20_000
    vectors = torch.randn(n_vectors, 3 * N, dtype=torch.float64, generator=torch.manual_seed(4))
    found = losses.frobenius(vectors @ difference, torch.zeros_like(vectors))
    deviation = math.sqrt(2 * (difference @ difference).square().sum() / n_vectors)
    assert abs(found - difference.square().sum()) < 4 * deviation
    assert deviation < 0.05 * difference.square().sum()


def test_modes_of_a_chain():
    """ω = 2 √(k/m) |sin(π n/N)| along the modes of the reference, whose shape does not depend on k."""
    mass, springs = 28.0, (1.0, 0.81)
    _, modes = torch.linalg.eigh(chain(springs[1]) / mass)
    modes = modes.T[1:] / math.sqrt(mass)
    waves = np.sort(2 * np.abs(np.sin(np.pi * np.arange(1, N) / N)))
    wanted = waves * math.sqrt(springs[0] / mass) * FREQUENCY_FACTOR_THZ
    found = losses.mode_frequencies(modes @ chain(springs[0]), modes)
    np.testing.assert_allclose(found.numpy(), wanted, atol=losses.SOFT)
    loss = losses.modes(modes @ chain(springs[0]), modes @ chain(springs[1]), modes)
    assert loss.item() == pytest.approx(np.mean((wanted * (1 - math.sqrt(0.81))) ** 2), rel=1e-2)
    # an unstable chain has negative frequencies of the same size
    np.testing.assert_allclose(losses.mode_frequencies(-modes @ chain(1.0), modes), -found, atol=1e-12)


def test_norms_are_blind_to_rotation():
    """The baseline sees nothing where every force points elsewhere; the losses do, all of them."""
    expected = symmetric(5)
    rotation = torch.as_tensor(Rotation.from_euler('xyz', [40, 20, 70], degrees=True).as_matrix())
    turn = torch.block_diag(*[rotation] * N)
    rotated = turn @ expected @ turn.T
    size = expected.square().sum()
    assert losses.norm_only(rotated, expected) < 1e-20 * size
    assert losses.norm_only(1.1 * expected, expected).item() == pytest.approx(0.01 * size.item())
    basis = torch.eye(3 * N, dtype=torch.float64)
    assert losses.relative_frobenius(basis @ rotated, basis @ expected) > 0.5
    assert losses.force_constant_column(rotated[0], expected[0]) > 0.5
    modes = torch.linalg.eigh(expected)[1].T
    assert losses.modes(modes @ rotated, modes @ expected, modes) > 1.0


def test_learned_weights_end_at_the_logarithms():
    """Σ exp(-s) L + s is smallest at s = ln L, where its value is Σ 1 + ln L."""
    terms = [torch.tensor(value, dtype=torch.float64) for value in (0.02, 1.0, 30.0)]
    log_variances = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_variances], max_iter=200, tolerance_change=1e-14, tolerance_grad=1e-12)

    def closure():
        optimiser.zero_grad()
        loss = losses.learned_weighting(terms, log_variances)
        loss.backward()
        return loss

    optimiser.step(closure)
    wanted = [math.log(t) for t in terms]
    c = losses.LARGEST_LOG_WEIGHT
    np.testing.assert_allclose(c * np.tanh(log_variances.detach()[:3] / c), wanted, atol=1e-5)
    assert losses.learned_weighting(terms, log_variances).item() == pytest.approx(sum(1 + w for w in wanted))
    # a term that a batch does not have leaves its weight alone
    assert log_variances[3] == 0
