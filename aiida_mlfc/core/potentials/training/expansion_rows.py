"""The design matrix of the cluster expansion: what each coefficient adds to forces and virial."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from aiida_mlfc.core.potentials.dx.expansion import DEGREES, ClusterExpansion, edge_functions
from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph


class Terms(NamedTuple):
    """The part of an expansion that one chemical system has.

    :param pairs: as in :class:`ClusterExpansion`; likewise ``triplets``.
    :param columns: where its coefficients stand among all, pairs first, shape ``(n_coefficients,)``.
    """

    pairs: list[tuple[int, ...]]
    triplets: list[tuple[int, ...]]
    columns: Tensor


class Rows(NamedTuple):
    """Derivatives of the expansion with respect to its coefficients, flat: pairs first.

    :param forces: shape ``(n_atoms, 3, n_coefficients)``, 1/Å.
    :param virial: Σ_edges dE/dr_α r_β, shape ``(3, 3, n_coefficients)``.
    """

    forces: Tensor
    virial: Tensor


def terms_among(expansion: ClusterExpansion, types: Collection[int]) -> Terms:
    """Pairs and triplets of which all atoms are of these types.

    :param types: columns of ``graph.atom_types``.
    """
    pairs = [k for k, pair in enumerate(expansion.pairs) if set(pair) <= set(types)]
    triplets = [k for k, triplet in enumerate(expansion.triplets) if set(triplet) <= set(types)]
    n_pairs = expansion.pair_coefficients.numel()
    columns = torch.cat(
        (
            torch.arange(n_pairs).view(len(expansion.pairs), -1)[pairs].flatten(),
            torch.arange(n_pairs, expansion.n_coefficients).view(len(expansion.triplets), -1)[triplets].flatten(),
        )
    )
    return Terms([expansion.pairs[k] for k in pairs], [expansion.triplets[k] for k in triplets], columns)


def derivative_rows(expansion: ClusterExpansion, terms: Terms, graph: AtomGraph) -> Rows:
    """What each coefficient adds to forces and virial, if it is one; species are columns, not mixtures.

    :param terms: the coefficients.
    :param graph: one system, float64.
    """
    vectors = graph.edge_vectors()
    pairs = _pair_derivatives(expansion, terms, graph, vectors)
    near = torch.nonzero(vectors.norm(dim=1) < expansion.triplet_splines.cutoff)[:, 0]
    triplets = _triplet_derivatives(expansion, terms, graph.within(near), vectors[near])
    n_pairs = len(terms.pairs) * expansion.pair_splines.n
    parts = [
        _gathered(pairs, n_pairs, graph, vectors),
        _gathered(triplets, len(terms.columns) - n_pairs, graph.within(near), vectors[near]),
    ]
    return Rows(*(torch.cat(both, -1) for both in zip(*parts, strict=True)))


def _gathered(
    parts: Iterator[tuple[Tensor, Tensor, slice]], n: int, graph: AtomGraph, vectors: Tensor
) -> tuple[Tensor, Tensor]:
    """Forces and virial of all parts: edges, dE/dr of shape ``(n_edges, 3, n_columns)``, which of n columns."""
    forces, virial = vectors.new_zeros(graph.n_atoms, 3, n), vectors.new_zeros(3, 3, n)
    for edges, gradient, columns in parts:
        centre, neighbour = graph.edge_index[:, edges]
        forces[:, :, columns].index_add_(0, centre, gradient)
        forces[:, :, columns].index_add_(0, neighbour, -gradient)
        virial[:, :, columns] += torch.einsum('eaf,eb->abf', gradient, vectors[edges])
    return forces, virial


def _pair_derivatives(
    expansion: ClusterExpansion, terms: Terms, graph: AtomGraph, vectors: Tensor
) -> Iterator[tuple[Tensor, Tensor, slice]]:
    distances = vectors.norm(dim=1)
    _, slopes = torch.func.jvp(expansion.pair_splines, (distances,), (torch.ones_like(distances),))
    types = graph.atom_types.argmax(1)
    centre, neighbour = graph.centres(types), graph.neighbours(types)
    n = slopes.shape[1]
    for k, (a, b) in enumerate(terms.pairs):
        edges = torch.nonzero(((centre == a) & (neighbour == b)) | ((centre == b) & (neighbour == a)))[:, 0]
        units = vectors[edges] / distances[edges, None]
        gradient = units[:, :, None] * slopes[edges, None] / 2
        yield edges, gradient, slice(k * n, (k + 1) * n)


def _triplet_derivatives(
    expansion: ClusterExpansion, terms: Terms, graph: AtomGraph, vectors: Tensor
) -> Iterator[tuple[Tensor, Tensor, slice]]:
    functions = edge_functions(expansion, vectors)
    slopes = torch.stack(
        [
            torch.func.jvp(lambda v: edge_functions(expansion, v), (vectors,), (axis.expand_as(vectors),))[1]
            for axis in torch.eye(3, dtype=vectors.dtype)
        ],
        1,
    )
    present = torch.nonzero(graph.atom_types.sum(0))[:, 0].tolist()
    moments = expansion.moments(graph, functions, present)
    types = graph.atom_types.argmax(1)
    centre, neighbour = graph.centres(types), graph.neighbours(types)
    m = expansion.triplet_splines.n
    n = len(DEGREES) * m * m
    for k, (c, first, second) in enumerate(terms.triplets):
        # the product rule: the moving neighbour is in the first moment, or in the second
        for moving, other, swapped in ((first, second, False), (second, first, True)):
            chosen = (centre == c) & (neighbour == moving)
            edges = torch.nonzero(chosen if other in present else torch.zeros_like(chosen))[:, 0]
            if not len(edges):
                continue
            here = graph.within(edges).centres(moments[:, present.index(other)])
            order = 'exam,ebm->exba' if swapped else 'exam,ebm->exab'
            gradient = [torch.einsum(order, slopes[edges][..., rows], here[..., rows]) for rows in DEGREES]
            yield edges, torch.stack(gradient, 2).flatten(2), slice(k * n, (k + 1) * n)
