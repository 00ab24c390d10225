"""Spherical harmonics up to l = 2 and the depthwise O(3) tensor product as one dense matrix product.

Features are rows 0 | 1-3 | 4-8 for l = 0, 1, 2 with natural parity (0e + 1o + 2e), which products with Y(r) keep.
Harmonics are in e3nn's order and component normalisation; Clebsch-Gordan coefficients are e3nn's ``wigner_3j``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: rows of each degree
DEGREE_SIZES = (1, 3, 5)
N_ROWS = sum(DEGREE_SIZES)
#: paths (l1 of the feature, l2 of the harmonic, l3 of the result) that keep natural parity, ordered by l1
PATHS = (
    (0, 0, 0),
    (0, 1, 1),
    (0, 2, 2),
    (1, 0, 1),
    (1, 1, 0),
    (1, 1, 2),
    (1, 2, 1),
    (2, 0, 2),
    (2, 1, 1),
    (2, 2, 0),
    (2, 2, 2),
)
N_PATHS = len(PATHS)
_PATHS_BY_DEGREE = (3, 4, 4)
_DEGREE_START = (0, 1, 4)


def harmonics(unit_vectors: Tensor) -> Tensor:
    """Real spherical harmonics, component normalisation (the squares of degree l sum to 2l + 1).

    :param unit_vectors: shape ``(n_edges, 3)``.
    :return: shape ``(n_edges, 9)``.
    """
    x, y, z = unit_vectors.unbind(-1)
    s3, s5, s15 = math.sqrt(3), math.sqrt(5), math.sqrt(15)
    return torch.stack(
        (
            torch.ones_like(x),
            s3 * x,
            s3 * y,
            s3 * z,
            s15 * x * z,
            s15 * x * y,
            s5 * (y * y - (x * x + z * z) / 2),
            s15 * y * z,
            s15 / 2 * (z * z - x * x),
        ),
        dim=-1,
    )


def coupling_tensor() -> Tensor:
    """K[output row, (path, feature component), harmonic], shape ``(9, 35, 9)``, float64, sparse in content.

    Every output component has unit variance for unit-variance inputs: √(2 l3 + 1) over the root of the number of
    paths into l3.
    """
    from e3nn.o3 import wigner_3j

    fan_in = [sum(path[2] == degree for path in PATHS) for degree in range(3)]
    blocks = []
    for l1, l2, l3 in PATHS:
        block = torch.zeros(N_ROWS, DEGREE_SIZES[l1], N_ROWS, dtype=torch.float64)
        coupling = wigner_3j(l1, l2, l3, dtype=torch.float64).permute(2, 0, 1)
        rows3 = slice(_DEGREE_START[l3], _DEGREE_START[l3] + DEGREE_SIZES[l3])
        rows2 = slice(_DEGREE_START[l2], _DEGREE_START[l2] + DEGREE_SIZES[l2])
        block[rows3, :, rows2] = coupling * math.sqrt((2 * l3 + 1) / fan_in[l3])
        blocks.append(block)
    return torch.cat(blocks, dim=1)


def edge_matrices(coupling: Tensor, edge_harmonics: Tensor) -> Tensor:
    """M_e = Σ_k K[:, :, k] Y_k: the geometry of every product on an edge, made once for all layers.

    :param coupling: from :func:`coupling_tensor`, shape ``(9, 35, 9)``.
    :param edge_harmonics: shape ``(n_edges, 9)``.
    :return: shape ``(n_edges, 9, 35)``.
    """
    return (edge_harmonics @ coupling.flatten(0, 1).T).view(-1, coupling.shape[0], coupling.shape[1])


def depthwise_product(features: Tensor, matrices: Tensor, weights: Tensor) -> Tensor:
    """Each channel of each edge multiplied with the harmonics of the edge, one weight for each path and channel.

    :param features: shape ``(n_edges, 9, channels)``.
    :param matrices: from :func:`edge_matrices`, shape ``(n_edges, 9, 35)``.
    :param weights: shape ``(n_edges or 1, 11, channels)``.
    :return: shape ``(n_edges, 9, channels)``.
    """
    by_degree = zip(weights.split(_PATHS_BY_DEGREE, dim=1), features.split(DEGREE_SIZES, dim=1), strict=True)
    weighted = [(w[:, :, None] * x[:, None]).flatten(1, 2) for w, x in by_degree]
    return torch.bmm(matrices, torch.cat(weighted, dim=1))
