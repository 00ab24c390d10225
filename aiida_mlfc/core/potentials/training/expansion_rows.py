"""The design matrix of the cluster expansion: what each coefficient adds to forces and virial."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
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


def force_rows(expansion: ClusterExpansion, terms: Terms, graph: AtomGraph) -> Tensor:
    """What each coefficient adds to forces, if it is one; species are columns, not mixtures.

    :param terms: the coefficients.
    :param graph: float64.
    :return: shape ``(3 n_atoms, n_coefficients)``, 1/Å.
    """
    rows = graph.positions.new_zeros(graph.n_atoms, 3, len(terms.columns))
    for links, gradient, columns in _parts(expansion, terms, graph, _to_neighbours):
        rows[:, :, columns].index_add_(0, links.centre, gradient)
        rows[:, :, columns].index_add_(0, links.end, -gradient)
    return rows.flatten(0, 1)


def virial_rows(expansion: ClusterExpansion, terms: Terms, graph: AtomGraph) -> Tensor:
    """The same of the virial, Σ_edges dE/dr_α r_β: shape ``(9, n_coefficients)``.

    :param graph: one system, float64.
    """
    rows = graph.positions.new_zeros(9, len(terms.columns))
    for _, gradient, columns in _parts(expansion, terms, graph, _to_species):
        rows[:, columns] += gradient.sum(0)
    return rows


class _Links(NamedTuple):
    """Edges of one centre that go to the same end, as one.

    :param centre: atoms, shape ``(n_links,)``; likewise where they end, and the species there.
    :param slopes: sums over the edges of a link, shape ``(n_links, n_directions, ...)``.
    """

    centre: Tensor
    end: Tensor
    species: Tensor
    slopes: Tensor

    def chosen(self, which: Tensor) -> _Links:
        return _Links(*(x[which] for x in self))


def _to_neighbours(graph: AtomGraph, vectors: Tensor, slopes: Tensor) -> _Links:
    """To each atom, whichever its image.

    :param slopes: along x, y and z, shape ``(n_edges, 3, ...)``.
    """
    links = _links(graph, graph.edge_index[1], graph.n_atoms, slopes)
    return links._replace(species=graph.atom_types.argmax(1)[links.end])


def _to_species(graph: AtomGraph, vectors: Tensor, slopes: Tensor) -> _Links:
    """To all atoms of a species; times the components of the vectors."""
    virial = torch.einsum('ex...,ey->exy...', slopes, vectors).flatten(1, 2)
    return _links(graph, graph.neighbours(graph.atom_types.argmax(1)), graph.atom_types.shape[1], virial)


def _links(graph: AtomGraph, ends: Tensor, n_ends: int, slopes: Tensor) -> _Links:
    keys, link = torch.unique(graph.edge_index[0] * n_ends + ends, return_inverse=True)
    end = keys % n_ends
    sums = slopes.new_zeros(len(keys), *slopes.shape[1:]).index_add_(0, link, slopes)
    return _Links(keys // n_ends, end, end, sums)


def _parts(
    expansion: ClusterExpansion, terms: Terms, graph: AtomGraph, summed: Callable[[AtomGraph, Tensor, Tensor], _Links]
) -> Iterator[tuple[_Links, Tensor, slice]]:
    """Links, the derivatives along them of shape ``(n_links, n_directions, n_columns)``, which columns."""
    types = graph.atom_types.argmax(1)
    vectors = graph.edge_vectors()
    n_pairs = len(terms.pairs) * expansion.pair_splines.n
    yield from _pairs(terms, types, summed(graph, vectors, _pair_slopes(expansion, vectors)))
    near = torch.nonzero(vectors.norm(dim=1) < expansion.triplet_splines.cutoff)[:, 0]
    graph, vectors = graph.within(near), vectors[near]
    functions, slopes = _triplet_slopes(expansion, vectors)
    present = torch.nonzero(graph.atom_types.sum(0))[:, 0].tolist()
    moments = dict(zip(present, expansion.moments(graph, functions, present).unbind(1), strict=True))
    for links, gradient, columns in _triplets(terms, types, summed(graph, vectors, slopes), moments):
        yield links, gradient, slice(n_pairs + columns.start, n_pairs + columns.stop)


def _pair_slopes(expansion: ClusterExpansion, vectors: Tensor) -> Tensor:
    """Shape ``(n_edges, 3, n_splines)``."""
    distances = vectors.norm(dim=1)
    _, slopes = torch.func.jvp(expansion.pair_splines, (distances,), (torch.ones_like(distances),))
    return (vectors / distances[:, None])[:, :, None] * slopes[:, None]


def _triplet_slopes(expansion: ClusterExpansion, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Functions of each edge, shape ``(n_edges, n_splines, 16)``, and their slopes, ``(n_edges, 3, n_splines, 16)``."""
    n, axes = len(vectors), torch.eye(3, dtype=vectors.dtype)
    # all three directions at once: what it costs for few edges is the number of operations
    functions, slopes = torch.func.jvp(
        lambda v: edge_functions(expansion, v), (vectors.repeat(3, 1),), (axes.repeat_interleave(n, 0),)
    )
    return functions[:n], slopes.unflatten(0, (3, n)).transpose(0, 1)


def _pairs(terms: Terms, types: Tensor, links: _Links) -> Iterator[tuple[_Links, Tensor, slice]]:
    centre, n = types[links.centre], links.slopes.shape[-1]
    for k, (a, b) in enumerate(terms.pairs):
        here = links.chosen(((centre == a) & (links.species == b)) | ((centre == b) & (links.species == a)))
        yield here, here.slopes / 2, slice(k * n, (k + 1) * n)


def _triplets(
    terms: Terms, types: Tensor, links: _Links, moments: Mapping[int, Tensor]
) -> Iterator[tuple[_Links, Tensor, slice]]:
    """:param moments: by species, shape ``(n_atoms, n_splines, 16)``."""
    centre, m = types[links.centre], links.slopes.shape[-2]
    n = len(DEGREES) * m * m
    for k, (c, first, second) in enumerate(terms.triplets):
        # the product rule: the moving neighbour is in the first moment, or in the second
        for moving, other, swapped in ((first, second, False), (second, first, True)):
            here = links.chosen((centre == c) & (links.species == moving))
            if other not in moments or not len(here.centre):
                continue
            moment = moments[other][here.centre]
            order = 'exam,ebm->exba' if swapped else 'exam,ebm->exab'
            gradient = [torch.einsum(order, here.slopes[..., rows], moment[..., rows]) for rows in DEGREES]
            yield here, torch.stack(gradient, 2).flatten(2), slice(k * n, (k + 1) * n)
