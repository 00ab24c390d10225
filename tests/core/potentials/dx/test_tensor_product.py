"""Harmonics against e3nn, and the dense tensor product under rotations and reflections."""

import numpy as np
import pytest
import torch
from e3nn import o3
from scipy.spatial.transform import Rotation

from aiida_mlfc.core.potentials.dx.tensor_product import (
    DEGREE_SIZES,
    N_PATHS,
    N_ROWS,
    PATHS,
    coupling_tensor,
    depthwise_product,
    edge_matrices,
    harmonics,
)

from .representation import representation


def random_units(n):
    vectors = torch.randn(n, 3, dtype=torch.float64, generator=torch.manual_seed(0))
    return vectors / vectors.norm(dim=1, keepdim=True)


def test_harmonics_are_those_of_e3nn():
    units = random_units(50)
    expected = o3.spherical_harmonics([0, 1, 2], units, normalize=False, normalization='component')
    torch.testing.assert_close(harmonics(units), expected, rtol=0, atol=1e-14)


def test_paths_are_all_that_keep_natural_parity():
    every = {(a, b, c) for a in range(3) for b in range(3) for c in range(3)
             if abs(a - b) <= c <= a + b and (a + b + c) % 2 == 0}
    assert set(PATHS) == every
    assert len(PATHS) == len(every) == N_PATHS
    assert [p[0] for p in PATHS] == sorted(p[0] for p in PATHS)


def test_coupling_is_float64_and_complete():
    coupling = coupling_tensor()
    assert coupling.dtype == torch.float64
    assert coupling.shape == (N_ROWS, sum(DEGREE_SIZES[l1] for l1, _, _ in PATHS), N_ROWS)
    # 1 x 1 -> 0 is the scalar product over √3, √1 for the degree and 1/√3 for its three paths
    block = coupling[0, 3 + 3:3 + 3 + 3, 1:4]
    assert torch.allclose(block.abs(), torch.eye(3, dtype=torch.float64) / 3)


@pytest.mark.parametrize('sign', [1, -1], ids=['proper', 'improper'])
@pytest.mark.parametrize('path', range(N_PATHS), ids=lambda k: ''.join(map(str, PATHS[k])))
def test_each_path_is_equivariant(path, sign):
    rotation = torch.tensor(sign * Rotation.random(rng=1).as_matrix())
    d = representation(rotation)
    units = random_units(5)
    features = torch.randn(5, N_ROWS, 3, dtype=torch.float64)
    weights = torch.zeros(1, N_PATHS, 3, dtype=torch.float64)
    weights[0, path] = torch.tensor([1.0, -2.0, 0.5])

    def product(x, u):
        return depthwise_product(x, edge_matrices(coupling_tensor(), harmonics(u)), weights)

    plain = product(features, units)
    degree = PATHS[path][2]
    start = sum(DEGREE_SIZES[:degree])
    inside = plain[:, start:start + DEGREE_SIZES[degree]]
    assert inside.abs().max() > 0.1
    assert (plain != 0).sum() == (inside != 0).sum(), 'the path reaches another degree'
    torch.testing.assert_close(product(d @ features, units @ rotation.T), d @ plain, rtol=0, atol=1e-12)


def test_unit_variance():
    """Random features give features of about the same size: depth changes no scale."""
    torch.manual_seed(3)
    n = 4000
    out = depthwise_product(
        torch.randn(n, N_ROWS, 1), edge_matrices(coupling_tensor().float(), harmonics(random_units(n).float())),
        torch.randn(n, N_PATHS, 1),
    )
    for part in out.split(DEGREE_SIZES, dim=1):
        assert np.isclose(part.square().mean(), 1, atol=0.2)
