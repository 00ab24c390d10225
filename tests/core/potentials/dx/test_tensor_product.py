"""Harmonics against e3nn, and the dense tensor product under rotations and reflections."""

import subprocess
import sys

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
    wigner_3j,
)

from .representation import representation


def random_units(n):
    vectors = torch.randn(n, 3, dtype=torch.float64, generator=torch.manual_seed(0))
    return vectors / vectors.norm(dim=1, keepdim=True)


@pytest.mark.parametrize('path', PATHS)
def test_couplings_are_those_of_e3nn(path):
    """Signs included: weights of checkpoints were trained with them."""
    torch.testing.assert_close(wigner_3j(*path), o3.wigner_3j(*path, dtype=torch.float64), rtol=0, atol=1e-14)


def test_nothing_brings_dynamo_along():
    """Two seconds of every process that computes force constants."""
    program = (
        'import sys; from ase.build import bulk; from aiida_mlfc import compute_force_constants;'
        "compute_force_constants(bulk('Si', 'diamond', 5.43), [1, 1, 1], 'dx-demo');"
        "assert not {'e3nn', 'torch._dynamo'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, '-c', program], check=True, timeout=300)


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
    sizes = [DEGREE_SIZES[l1] * DEGREE_SIZES[l3] for l1, _, l3 in PATHS]
    assert coupling.shape == (sum(sizes), N_ROWS)
    # 1 x 1 -> 0 is the scalar product over √3, √1 for the degree and 1/√3 for its three paths
    block = coupling.split(sizes)[PATHS.index((1, 1, 0))]
    assert torch.allclose(block[:, 1:4].abs(), torch.eye(3, dtype=torch.float64) / 3)


def test_product_is_that_of_e3nn():
    """Path by path, with e3nn's own tensor product and its normalisation by component."""
    units, features = random_units(7), torch.randn(7, N_ROWS, 1, dtype=torch.float64)
    matrices = edge_matrices(coupling_tensor(), harmonics(units))
    degrees = [o3.Irrep(0, 1), o3.Irrep(1, -1), o3.Irrep(2, 1)]
    for path, (l1, l2, l3) in enumerate(PATHS):
        weights = torch.zeros(1, N_PATHS, 1, dtype=torch.float64)
        weights[0, path] = 1
        start1, start3 = (sum(DEGREE_SIZES[:degree]) for degree in (l1, l3))
        found = depthwise_product(features, matrices, weights)[:, start3:start3 + DEGREE_SIZES[l3], 0]
        theirs = o3.FullTensorProduct(
            [(1, degrees[l1])], [(1, degrees[l2])], filter_ir_out=[degrees[l3]], irrep_normalization='component'
        ).double()
        expected = theirs(
            features[:, start1:start1 + DEGREE_SIZES[l1], 0],
            o3.spherical_harmonics(l2, units, normalize=False, normalization='component'),
        )
        n_paths = sum(other[2] == l3 for other in PATHS)
        # e3nn's sign is that of wigner_3j(l1, l2, l3), ours too
        torch.testing.assert_close(found, expected / n_paths**0.5, rtol=0, atol=1e-6)


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
