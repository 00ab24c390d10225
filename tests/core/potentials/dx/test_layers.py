"""Blocks on one atom: equivariance, and what each norm does."""

import pytest
import torch
from scipy.spatial.transform import Rotation

from aiida_mlfc.core.potentials.dx.layers import NORM_EPSILON, DegreeLinear, DegreeNorm, FeedForward, gate
from aiida_mlfc.core.potentials.dx.tensor_product import DEGREE_SIZES

from .representation import representation


def features(channels=6):
    return torch.randn(4, 9, channels, dtype=torch.float64, generator=torch.manual_seed(0))


def randomised(module):
    generator = torch.manual_seed(1)
    for p in module.double().parameters():
        torch.nn.init.normal_(p, generator=generator)
    return module


LAYERS = {
    'linear': lambda: randomised(DegreeLinear(6, 4)),
    'merged norm': lambda: randomised(DegreeNorm(6, 'merged')),
    'norm per degree': lambda: randomised(DegreeNorm(6, 'per_degree')),
    'gain': lambda: randomised(DegreeNorm(6, 'none')),
    'feed forward': lambda: randomised(FeedForward(6)),
    'gate': lambda: lambda x: gate(x, torch.cat((x[:, 0], x[:, 0] ** 2), dim=1)),
}


@pytest.mark.parametrize('sign', [1, -1], ids=['proper', 'improper'])
@pytest.mark.parametrize('name', LAYERS)
def test_equivariance(name, sign):
    layer, x = LAYERS[name](), features()
    d = representation(torch.tensor(sign * Rotation.random(rng=2).as_matrix()))
    torch.testing.assert_close(layer(d @ x), d @ layer(x), rtol=1e-12, atol=1e-12)
    assert (layer(x)[:, 1:] - layer(d @ x)[:, 1:]).abs().max() > 1e-3


def test_bias_acts_on_scalars_only():
    layer = randomised(DegreeLinear(6, 4))
    out = layer(torch.zeros(1, 9, 6, dtype=torch.float64))
    assert torch.equal(out[0, 0], layer.bias)
    assert (out[0, 1:] == 0).all()


def test_merged_norm_is_one_factor():
    x = features()
    degrees = [p.square().mean(dim=(1, 2)) for p in x.split(DEGREE_SIZES, dim=1)]
    expected = x / (sum(degrees) / 3 + NORM_EPSILON).sqrt()[:, None, None]
    torch.testing.assert_close(DegreeNorm(6, 'merged').double()(x), expected)


def test_norm_per_degree_amplifies_what_vanishes():
    """The defect: features of 1e-6, there by rounding or a rattle, leave 316 times as large."""
    x = features()
    x[:, 1:4] *= 1e-6
    merged, per_degree = DegreeNorm(6, 'merged').double()(x), DegreeNorm(6, 'per_degree').double()(x)
    assert (per_degree[:, 1:4] / x[:, 1:4]).min() > 300
    assert (merged[:, 1:4] / x[:, 1:4]).max() < 3
