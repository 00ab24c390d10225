"""Cluster expansion up to three bodies: the part of a crystal's energy that is linear in what is learned.

E = ½ Σ_ij φ_ab(r_ij) + Σ_i Σ_l Σ_nn' W^l_nn' Σ_m A_i,a n l m A_i,b n' l m,   A_i,a n l m = Σ_j∈a S_n(r_ij) Y_lm(r_ij)

with φ_ab = Σ_n c_n S_n, one function for each pair of species, and one array W for each species of the centre and pair
of species of its neighbours: the atomic cluster expansion of Drautz, Phys. Rev. B 99, 014104 (2019), to three bodies.
S_n are quintic B-splines on a uniform grid, so that energies have four continuous derivatives, and Y_lm have norm 1.

Force constants are mostly this: a pair function alone leaves 5 to 12 % of them, and it is found by solving linear
equations (``training/expansion_fit.py``), where gradient descent needs thousands of steps. The network learns the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations_with_replacement

import numpy as np
import torch
from torch import Tensor, nn

from aiida_mlfc.core.potentials.dx.tensor_product import harmonics
from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph

#: B-splines begin below this distance, Å: no two atoms come as near
NEAREST = 0.6
#: of all systems together
MOST_COEFFICIENTS = 2_000_000
#: splines that reach over one interval of the grid
_OVERLAP = 6
#: rows of the harmonics of l = 0, 1, 2, 3
DEGREES = (slice(0, 1), slice(1, 4), slice(4, 9), slice(9, 16))


class Splines(nn.Module):
    """Quintic cardinal B-splines on a uniform grid, the last of which ends at the cutoff.

    :param cutoff: Å.
    :param spacing: of the grid, Å.
    """

    pieces: Tensor

    def __init__(self, cutoff: float, spacing: float) -> None:
        super().__init__()
        self.cutoff, self.spacing = cutoff, spacing
        self.n = max(1, math.ceil((cutoff - NEAREST) / spacing) - 2)
        #: distance at which the first spline is largest, Å
        self.first = cutoff - (self.n + 2) * spacing
        self.register_buffer('pieces', _pieces(), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Splines:
        super()._apply(fn, recurse)
        # Remade, not cast: the same model must not depend on a detour through float32.
        self.pieces.copy_(_pieces())
        return self

    def forward(self, distances: Tensor) -> Tensor:
        """Values of the splines, shape ``(n_edges, n)``.

        :param distances: shape ``(n_edges,)``, Å.
        """
        s = (distances - self.first) / self.spacing
        interval = s.detach().floor().clamp(-3, self.n + 2)
        t = s - interval
        powers = torch.stack([torch.ones_like(t), t, t * t, t**3, t**4, t**5], 1)
        # beyond the grid nothing: neither here nor in a derivative
        inside = ((s.detach() > -3) & (distances.detach() < self.cutoff)).to(powers.dtype)[:, None]
        values = (powers @ self.pieces) * inside
        # interval k is that of splines k - 2 to k + 3; those that there are not, to both sides, are cut off
        columns = interval.long()[:, None] + torch.arange(_OVERLAP, device=s.device) + 3
        dense = values.new_zeros((len(values), self.n + 11)).scatter(1, columns, values)
        return dense[:, 5 : self.n + 5]


class ClusterExpansion(nn.Module):
    """Energies of atoms from their neighbours' distances and angles, linear in its coefficients.

    :param n_types: columns of ``graph.atom_types``.
    :param systems: columns that occur together in a crystal; the others have neither pairs nor triplets.
    :param pair_cutoff: of φ, Å; likewise ``triplet_cutoff`` of A.
    :param pair_spacing: of the spline grid of φ, Å; likewise ``triplet_spacing`` of A.
    :param n_members: of an ensemble of coefficients, kept as differences from them.
    :raises ValueError: for more than :data:`MOST_COEFFICIENTS`.
    """

    pair_coefficients: Tensor
    triplet_coefficients: Tensor
    #: shape ``(n_members, n_coefficients)``, pairs first
    members: Tensor

    def __init__(
        self,
        n_types: int,
        systems: Sequence[Sequence[int]],
        pair_cutoff: float,
        triplet_cutoff: float,
        pair_spacing: float,
        triplet_spacing: float,
        n_members: int = 0,
    ) -> None:
        super().__init__()
        self.pair_splines = Splines(pair_cutoff, pair_spacing)
        self.triplet_splines = Splines(triplet_cutoff, triplet_spacing)
        pairs = {pair for system in systems for pair in combinations_with_replacement(sorted(system), 2)}
        triplets = {(c, *pair) for s in systems for c in s for pair in combinations_with_replacement(sorted(s), 2)}
        #: species of both atoms, the smaller column first
        self.pairs = sorted(pairs)
        #: species of the centre and of both neighbours, of which the smaller column comes first
        self.triplets = sorted(triplets)
        self.n_types = n_types
        m = self.triplet_splines.n
        wanted = (1 + n_members) * (len(self.pairs) * self.pair_splines.n + len(self.triplets) * len(DEGREES) * m * m)
        if wanted > MOST_COEFFICIENTS:
            # a file may ask for anything
            raise ValueError(f'expansion_systems: got {wanted} coefficients, wanted at most {MOST_COEFFICIENTS}')
        # Buffers: they are solved for, and no optimiser moves them.
        self.register_buffer('pair_coefficients', torch.zeros(len(self.pairs), self.pair_splines.n))
        self.register_buffer('triplet_coefficients', torch.zeros(len(self.triplets), len(DEGREES), m, m))
        self.set_members(torch.zeros(n_members, self.n_coefficients))

    @property
    def cutoff(self) -> float:
        """Å."""
        return max(self.pair_splines.cutoff, self.triplet_splines.cutoff)

    @property
    def reach(self) -> float:
        """Largest distance at which one atom changes the energy of another, Å: two neighbours of one centre."""
        return max(self.pair_splines.cutoff, 2 * self.triplet_splines.cutoff)

    @property
    def n_coefficients(self) -> int:
        """Of pairs and triplets."""
        return self.pair_coefficients.numel() + self.triplet_coefficients.numel()

    @property
    def coefficients(self) -> Tensor:
        """All of them, pairs first, shape ``(n_coefficients,)``, eV."""
        return torch.cat((self.pair_coefficients.flatten(), self.triplet_coefficients.flatten()))

    def set_coefficients(self, values: Tensor) -> None:
        """Take others.

        :param values: as :attr:`coefficients`.
        """
        pairs, triplets = values.split([self.pair_coefficients.numel(), self.triplet_coefficients.numel()])
        self.pair_coefficients.copy_(pairs.view_as(self.pair_coefficients))
        self.triplet_coefficients.copy_(triplets.view_as(self.triplet_coefficients))

    def set_members(self, differences: Tensor) -> None:
        """Take another ensemble.

        :param differences: shape ``(n_members, n_coefficients)``.
        """
        # files written before there were members have none
        self.register_buffer('members', differences.to(self.pair_coefficients), persistent=len(differences) > 0)

    def forward(self, graph: AtomGraph) -> Tensor:
        """Energies of the atoms, shape ``(n_atoms,)``, eV; only their sum has a meaning."""
        types = self.types_of(graph)
        vectors = graph.edge_vectors()
        distances = vectors.square().sum(-1).sqrt()
        return self._pair_energies(graph, distances, types) + self._triplet_energies(graph, vectors, distances, types)

    def types_of(self, graph: AtomGraph) -> list[int]:
        """Columns that the graph has atoms of; all where species are differentiated: an absent one counts then."""
        if graph.atom_types.requires_grad:
            return list(range(self.n_types))
        return torch.nonzero(graph.atom_types.detach().abs().sum(0))[:, 0].tolist()

    def _pair_energies(self, graph: AtomGraph, distances: Tensor, types: list[int]) -> Tensor:
        number = {pair: k for k, pair in enumerate(self.pairs)}
        weights = graph.atom_types[:, types]
        n = self.pair_splines.n
        table = self.pair_coefficients.new_zeros((len(types), len(types), n))
        for a, first in enumerate(types):
            for b, second in enumerate(types):
                k = number.get((min(first, second), max(first, second)))
                if k is not None:
                    table[a, b] = self.pair_coefficients[k]
        of_centres = (weights @ table.flatten(1)).view(-1, len(types), n)
        functions = (graph.centres(of_centres) * graph.neighbours(weights)[:, :, None]).sum(1)
        return graph.sum_to_centres((self.pair_splines(distances) * functions).sum(1)) / 2

    def _triplet_energies(self, graph: AtomGraph, vectors: Tensor, distances: Tensor, types: list[int]) -> Tensor:
        near = torch.nonzero(distances.detach() < self.triplet_splines.cutoff)[:, 0]
        graph = graph.within(near)
        moments = self.moments(graph, edge_functions(self, vectors[near]), types)
        column = {t: k for k, t in enumerate(types)}
        chosen = [k for k, triplet in enumerate(self.triplets) if all(t in column for t in triplet)]
        if not chosen:
            return torch.zeros_like(graph.positions[:, 0])
        centres, first, second = np.array([self.triplets[k] for k in chosen]).T
        weights, total = graph.atom_types[:, centres], torch.zeros_like(graph.positions[:, 0])
        first, second = [column[int(t)] for t in first], [column[int(t)] for t in second]
        for l, rows in enumerate(DEGREES):
            part = moments[..., rows]
            through = torch.einsum('tab,itbm->itam', self.triplet_coefficients[chosen, l], part[:, second])
            total = total + (weights * (part[:, first] * through).sum((2, 3))).sum(1)
        return total

    def moments(self, graph: AtomGraph, functions: Tensor, types: list[int]) -> Tensor:
        """A, shape ``(n_atoms, n_types, n_splines, 16)``.

        :param functions: of :func:`edge_functions`.
        """
        neighbours = graph.neighbours(graph.atom_types[:, types])
        return graph.sum_to_centres(neighbours[:, :, None, None] * functions[:, None])


def edge_functions(expansion: ClusterExpansion, vectors: Tensor) -> Tensor:
    """S_n Y_lm, shape ``(n_edges, n_splines, 16)``.

    :param vectors: shape ``(n_edges, 3)``, Å.
    """
    distances = vectors.square().sum(-1).sqrt()
    return expansion.triplet_splines(distances)[:, :, None] * unit_harmonics(vectors / distances[:, None])[:, None]


def unit_harmonics(unit_vectors: Tensor) -> Tensor:
    """Real spherical harmonics of l = 0 to 3, the squares of each degree summing to 1; e3nn's order, y its main axis.

    :param unit_vectors: shape ``(n_edges, 3)``.
    :return: shape ``(n_edges, 16)``.
    """
    x, y, z = unit_vectors.unbind(-1)
    low = harmonics(unit_vectors)
    low = torch.cat((low[:, :1], low[:, 1:4] / math.sqrt(3), low[:, 4:] / math.sqrt(5)), 1)
    s10, s6, s15 = math.sqrt(10) / 4, math.sqrt(6) / 4, math.sqrt(15)
    cubic = (
        s10 * x * (3 * z * z - x * x),
        s15 * x * y * z,
        s6 * x * (5 * y * y - 1),
        y * (5 * y * y - 3) / 2,
        s6 * z * (5 * y * y - 1),
        s15 / 2 * y * (z * z - x * x),
        s10 * z * (z * z - 3 * x * x),
    )
    return torch.cat((low, torch.stack(cubic, 1)), 1)


def _pieces() -> Tensor:
    """Polynomials of the six splines over one interval, by powers of the position t in it; shape ``(6, 6)``, float64.

    Spline j of the interval is B(t + 2 - j), B(x) = Σ_k (-1)^k C(6, k) (x + 3 - k)₊⁵ / 5!.
    """
    pieces = np.zeros((_OVERLAP, _OVERLAP))
    for j in range(_OVERLAP):
        for k in range(7):
            shift = 2 - j + 3 - k
            if shift >= 0:
                power = np.polynomial.Polynomial([shift, 1.0]) ** 5
                pieces[:, j] += (-1) ** k * math.comb(6, k) / 120 * power.coef
    return torch.as_tensor(pieces)
