"""Spherical harmonics up to l = 2 and the depthwise O(3) tensor product by small matrix products.

Features are rows 0 | 1-3 | 4-8 for l = 0, 1, 2 with natural parity (0e + 1o + 2e), which products with Y(r) keep.
Harmonics are in e3nn's order and component normalisation, coupling coefficients are those of its ``wigner_3j``.
They are computed here, for e3nn imports torch._dynamo: two seconds of every process that loads a potential.
"""

from __future__ import annotations

import math

import numpy as np
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
#: rows of the result of each path, by the degree of the feature
_ROWS_BY_DEGREE = tuple([DEGREE_SIZES[l3] for l1, _, l3 in PATHS if l1 == degree] for degree in range(3))
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


def wigner_3j(l1: int, l2: int, l3: int) -> Tensor:
    """Coupling of real harmonics where l1 + l2 + l3 is even: ∫ Y_l1 Y_l2 Y_l3 over the sphere, of norm 1.

    The integrand is a polynomial of degree 6 at most; four Gauss-Legendre nodes by seven angles integrate it exactly.

    :return: shape ``(2 l1 + 1, 2 l2 + 1, 2 l3 + 1)``, float64.
    """
    cosines, weights = (torch.as_tensor(x) for x in np.polynomial.legendre.leggauss(4))
    angles = torch.arange(7, dtype=torch.float64) * (2 * math.pi / 7)
    sines = (1 - cosines * cosines).sqrt()
    x, z = torch.outer(sines, angles.cos()), torch.outer(sines, angles.sin())
    rows = harmonics(torch.stack((x, cosines[:, None].expand_as(x), z), dim=-1).flatten(0, 1))
    parts = (rows[:, _DEGREE_START[d] : _DEGREE_START[d] + DEGREE_SIZES[d]] for d in (l1, l2, l3))
    integral = torch.einsum('p,pa,pb,pc->abc', weights.repeat_interleave(7), *parts)
    return integral / torch.linalg.norm(integral)


def coupling_tensor() -> Tensor:
    """K[(l1, path, output component, feature component), harmonic], shape ``(115, 9)``, float64.

    Every output component has unit variance for unit-variance inputs: √(2 l3 + 1) over the root of the number of
    paths into l3.
    """
    fan_in = [sum(path[2] == degree for path in PATHS) for degree in range(3)]
    blocks = []
    for l1, l2, l3 in PATHS:
        block = torch.zeros(DEGREE_SIZES[l3], DEGREE_SIZES[l1], N_ROWS, dtype=torch.float64)
        coupling = wigner_3j(l1, l2, l3).permute(2, 0, 1)
        block[:, :, _DEGREE_START[l2] : _DEGREE_START[l2] + DEGREE_SIZES[l2]] = coupling
        blocks.append(block.flatten(0, 1) * math.sqrt((2 * l3 + 1) / fan_in[l3]))
    return torch.cat(blocks)


def edge_matrices(coupling: Tensor, edge_harmonics: Tensor) -> tuple[Tensor, ...]:
    """The geometry of every product on an edge, made once for all layers: one matrix for each degree l1 of the feature.

    :param coupling: from :func:`coupling_tensor`, shape ``(115, 9)``.
    :param edge_harmonics: shape ``(n_edges, 9)``.
    :return: for l1 = 0, 1, 2, shape ``(n_edges, rows of all paths from l1, 2 l1 + 1)``.
    """
    sizes = [sum(rows) * size for rows, size in zip(_ROWS_BY_DEGREE, DEGREE_SIZES, strict=True)]
    return tuple(
        (edge_harmonics @ part.T).view(-1, sum(rows), size)
        for part, rows, size in zip(coupling.split(sizes), _ROWS_BY_DEGREE, DEGREE_SIZES, strict=True)
    )


def depthwise_product(features: Tensor, matrices: tuple[Tensor, ...], weights: Tensor) -> Tensor:
    """Each channel of each edge multiplied with the harmonics of the edge, one weight for each path and channel.

    :param features: shape ``(n_edges, 9, channels)``.
    :param matrices: from :func:`edge_matrices`.
    :param weights: shape ``(n_edges or 1, 11, channels)``.
    :return: shape ``(n_edges, 9, channels)``.
    """
    products: list[Tensor] = []
    for matrix, part, rows in zip(matrices, features.split(DEGREE_SIZES, dim=1), _ROWS_BY_DEGREE, strict=True):
        # scalars need no matrix product
        product = matrix * part if part.shape[1] == 1 else torch.bmm(matrix, part)
        products += product.split(rows, dim=1)
    results: list[Tensor | None] = [None, None, None]
    for (_, _, l3), product, weight in zip(PATHS, products, weights.split(1, dim=1), strict=True):
        so_far = results[l3]
        results[l3] = product * weight if so_far is None else torch.addcmul(so_far, product, weight)
    return torch.cat([result for result in results if result is not None], dim=1)
