"""Envelopes and radial functions: how smoothly they end at the cutoff."""

import pytest
import torch

from aiida_mlfc.core.potentials.dx.radial import ENVELOPES, RadialNetwork, SineBasis

#: number of derivatives that are continuous at the cutoff
SMOOTHNESS = {'bump': 4, 'quartic': 3, 'polynomial': 2}


def derivatives(function, t, order):
    """Value and derivatives up to ``order`` at each t."""
    t = t.clone().requires_grad_(True)
    values = [function(t)]
    for _ in range(order):
        values.append(torch.autograd.grad(values[-1].sum(), t, create_graph=True)[0])
    return values


@pytest.mark.parametrize('name', ENVELOPES)
def test_envelope_ends_smoothly(name):
    assert set(SMOOTHNESS) == set(ENVELOPES)
    just_inside = torch.tensor([1 - 1e-6], dtype=torch.float64)
    for value in derivatives(ENVELOPES[name], just_inside, SMOOTHNESS[name]):
        assert value.abs().item() < 1e-2
    inside = torch.linspace(0, 1, 101, dtype=torch.float64)
    values = ENVELOPES[name](inside)
    assert values[0] == 1
    assert (values.diff() <= 0).all()


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize('name', ENVELOPES)
def test_envelope_has_no_nan_at_and_beyond_the_cutoff(name, dtype):
    """The masked branch of ``where`` must not leak NaN into any derivative."""
    spacing = torch.finfo(dtype).eps
    t = torch.tensor([0.0, 0.5, 1 - spacing, 1.0, 1 + spacing, 1.7], dtype=dtype)
    for value in derivatives(ENVELOPES[name], t, 3):
        assert value.isfinite().all()
        assert (value[3:] == 0).all()


def test_sine_basis_is_orthonormal():
    """∫ b_n b_m d² dd = δ_nm on (0, r_c)."""
    cutoff, n = 5.0, 2000
    d = (torch.arange(n, dtype=torch.float64) + 0.5) * cutoff / n
    basis = SineBasis(6, cutoff).double()(d)
    overlap = torch.einsum('dn,dm,d->nm', basis, basis, d**2) * cutoff / n
    torch.testing.assert_close(overlap, torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-10)


def test_constants_survive_a_detour_through_float32():
    basis = SineBasis(6, 4.4)
    assert torch.equal(basis.float().double().frequencies, SineBasis(6, 4.4).double().frequencies)


def test_radial_network_dies_at_the_cutoff_whatever_its_biases():
    torch.manual_seed(0)
    network = RadialNetwork(3, 8, 5)
    for layer in network.layers[::2]:
        torch.nn.init.normal_(layer.bias)
    out = network(torch.randn(2, 3), torch.tensor([0.0, 0.5]))
    assert (out[0] == 0).all()
    assert (out[1] != 0).all()
