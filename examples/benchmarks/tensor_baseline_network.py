"""The direct baseline: a network of dx's parts that predicts the 3x3 blocks of the force constants as tensors.

Where dx learns an energy and differentiates it twice, this one reads a block off every pair of atoms within reach, as
published Hessian predictors do (arXiv:2509.21624): scalars, vectors and tensors of the pair make the parts 0e + 1e + 2e
of a matrix, Φ_ij = (B_ij + B_jiᵀ)/2, and the self-term is read off each atom, or follows from the acoustic sum rule.

Features up to l = 2 vanish at cubic sites, and with them all but axially symmetric blocks. So a pair also sees its
surroundings: the neighbours k of i, through the distances |r_ik| and |r_jk|; ``surroundings=False`` is without.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from aiida_mlfc.core.potentials.dx.config import DXConfig
from aiida_mlfc.core.potentials.dx.layers import DegreeLinear, DegreeNorm, FeedForward, gate
from aiida_mlfc.core.potentials.dx.model import DXModel
from aiida_mlfc.core.potentials.dx.radial import RadialNetwork, SineBasis, bump
from aiida_mlfc.core.potentials.dx.tensor_product import (
    DEGREE_SIZES,
    N_PATHS,
    N_ROWS,
    depthwise_product,
    edge_matrices,
    harmonics,
)
from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph

#: Å; no pair of the 64-atom supercells compared here is farther apart
REACH = 10.0
#: radial functions of a pair for each Å of reach, as dx has for its cutoff
RADIAL_FUNCTIONS = 2
#: Gaussians of |r_jk|, and the distance between them, Å
N_GAUSSIANS, SPACING = 16, 0.8
#: vectors and tensors of a pair that are multiplied into its block
N_PRODUCTS = 8


@dataclass(frozen=True)
class Pairs:
    """Which blocks there are in a crystal: all pairs within reach, and what stands around them.

    :param near: the graph of the trunk.
    :param far: the graph of the pairs, one block for each of its edges.
    :param reverse: the edge (j, i, -S) of each edge (i, j, S), shape ``(n_pairs,)``.
    :param triplets: pair, and edge of ``near`` from the same centre, shape ``(2, n_triplets)``.
    """

    near: AtomGraph
    far: AtomGraph
    reverse: Tensor
    triplets: Tensor


def pairs_of(near: AtomGraph, far: AtomGraph) -> Pairs:
    """Both graphs are of the same crystal; nothing here depends on positions."""
    (i, j), shifts = far.edge_index.tolist(), far.edge_cell_shifts.round().long().tolist()
    number = {(a, b, *s): k for k, (a, b, s) in enumerate(zip(i, j, shifts, strict=True))}
    reverse = [number[b, a, -s[0], -s[1], -s[2]] for a, b, s in zip(i, j, shifts, strict=True)]
    of_centre = near.edge_index[0][None] == far.edge_index[0][:, None]
    return Pairs(near, far, torch.tensor(reverse), of_centre.nonzero().T)


def _quadratic_forms() -> Tensor:
    """Q_m, symmetric and traceless with uᵀ Q_m u = Y_2m(u), shape ``(5, 3, 3)``."""
    forms = torch.zeros(5, 3, 3, dtype=torch.float64)
    for m, (a, b) in ((0, (0, 2)), (1, (0, 1)), (3, (1, 2))):
        forms[m, a, b] = forms[m, b, a] = math.sqrt(15) / 2
    forms[2] = math.sqrt(5) * torch.diag(torch.tensor([-0.5, 1.0, -0.5], dtype=torch.float64))
    forms[4] = math.sqrt(15) / 2 * torch.diag(torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64))
    return forms


def blocks_of(x: Tensor, forms: Tensor) -> Tensor:
    """Features as matrices that turn as B → R B Rᵀ and do not change under inversion, shape ``(n, 3, 3)``.

    The first channel gives the identity and the symmetric traceless part. The others are multiplied in pairs: v wᵀ of
    two vectors and T U of two tensors have all three parts, the antisymmetric one (1e) among them.

    :param x: shape ``(n, 9, 1 + 2 N_PRODUCTS)``, 0e + 1o + 2e.
    """
    scalars, vectors, tensors = x.split(DEGREE_SIZES, dim=1)
    identity = torch.eye(3, dtype=x.dtype)
    matrices = torch.einsum('nmc,mab->ncab', tensors, forms)
    left, right = matrices[:, 1 : 1 + N_PRODUCTS], matrices[:, 1 + N_PRODUCTS :]
    v, w = vectors[:, :, 1 : 1 + N_PRODUCTS], vectors[:, :, 1 + N_PRODUCTS :]
    products = torch.einsum('nak,nbk->nab', v, w) + torch.einsum('nkac,nkcb->nab', left, right) / len(forms)
    return scalars[:, :, :1] * identity + matrices[:, 0] + products / N_PRODUCTS**0.5


class TensorNetwork(nn.Module):
    """Blocks of the force constants from dx's trunk.

    :param config: of the trunk.
    :param self_term: ``predicted`` off each atom, or by the ``sum rule``.
    :param scales: typical block of a pair and of an atom with itself, eV/Å².
    """

    forms: Tensor
    centres: Tensor

    def __init__(
        self,
        config: DXConfig,
        self_term: str = 'predicted',
        scales: tuple[float, float] = (1.0, 1.0),
        reach: float = REACH,
        surroundings: bool = True,
    ) -> None:
        super().__init__()
        self.trunk, self.reach, self.self_term, self.scales = DXModel(config), reach, self_term, scales
        # of the energy only
        del self.trunk.readout
        c, width, types = config.channels, config.radial_width, 2 * config.type_channels
        n_radial = round(RADIAL_FUNCTIONS * reach)
        self.basis = SineBasis(n_radial, reach)
        self.source, self.target = DegreeLinear(c, c), DegreeLinear(c, c, bias=False)
        self.radial = RadialNetwork(n_radial + types, width, N_PATHS * c)
        n_around = N_GAUSSIANS + config.n_radial + types
        self.around = RadialNetwork(n_around, width, len(DEGREE_SIZES) * c) if surroundings else None
        self.gates = nn.Linear(c, 2 * c)
        self.value = DegreeLinear(c, c)
        self.second_weights = nn.Parameter(torch.randn(1, N_PATHS, c))
        self.second_value = DegreeLinear(c, c)
        self.pair_norm, self.pair_forward = DegreeNorm(c, config.norm), FeedForward(c)
        self.amplitude = RadialNetwork(n_radial + types, width, len(DEGREE_SIZES))
        self.pair_readout = DegreeLinear(c, 1 + 2 * N_PRODUCTS)
        self.self_forward, self.self_readout = FeedForward(c), DegreeLinear(c, 1 + 2 * N_PRODUCTS)
        self.register_buffer('forms', _quadratic_forms().to(torch.get_default_dtype()))
        self.register_buffer('gaussians', SPACING * torch.arange(N_GAUSSIANS, dtype=torch.get_default_dtype()))

    def forward(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """:return: blocks of the pairs, shape ``(n_pairs, 3, 3)``, and self-terms, ``(n_atoms, 3, 3)``, eV/Å²."""
        trunk, far = self.trunk, pairs.far
        edges, _, x = trunk._embed(pairs.near)
        for block in trunk.blocks:
            x = block(x, pairs.near, edges)
        x = trunk.final_norm(x)
        blocks = self.scales[0] * blocks_of(self._pair_features(x, pairs), self.forms)
        blocks = (blocks + blocks[pairs.reverse].transpose(1, 2)) / 2
        if self.self_term == 'sum rule':
            return blocks, -far.sum_to_centres(blocks)
        own = blocks_of(self.self_readout(self.self_forward(x)), self.forms)
        return blocks, self.scales[1] * (own + own.transpose(1, 2)) / 2

    def _pair_features(self, x: Tensor, pairs: Pairs) -> Tensor:
        far, c = pairs.far, self.trunk.config.channels
        vectors = far.edge_vectors()
        distances = vectors.square().sum(-1).sqrt()
        envelope = bump(distances / self.reach)
        types = far.atom_types @ self.trunk.edge_type_features
        features = torch.cat(
            (self.basis(distances) * envelope[:, None], far.centres(types), far.neighbours(types)), dim=1
        )
        matrices = edge_matrices(self.trunk.coupling, harmonics(vectors / distances[:, None]))
        ends = far.neighbours(self.source(x)) + far.centres(self.target(x))
        pair = depthwise_product(ends, matrices, self.radial(features, envelope).view(-1, N_PATHS, c))
        if self.around is not None:
            pair = pair + self._surroundings(pairs, vectors, types, envelope)
        value = gate(self.value(pair), self.gates(pair[:, 0]))
        pair = pair + self.second_value(depthwise_product(value, matrices, self.second_weights))
        pair = pair + self.pair_forward(self.pair_norm(pair))
        parts = self.pair_readout(pair).split(DEGREE_SIZES, dim=1)
        amplitudes = self.amplitude(features, envelope).split(1, dim=1)
        return torch.cat([part * a[:, None] for part, a in zip(parts, amplitudes, strict=True)], dim=1)

    def _surroundings(self, pairs: Pairs, vectors: Tensor, types: Tensor, envelope: Tensor) -> Tensor:
        """Σ_k R(|r_ik|, |r_jk|) Y(r_ik) over the neighbours of i, shape ``(n_pairs, 9, channels)``."""
        assert self.around is not None
        near, (pair, edge) = pairs.near, pairs.triplets
        to_k = near.edge_vectors()
        distances = to_k.square().sum(-1).sqrt()
        other = (to_k[edge] - vectors[pair]).square().sum(-1)
        # a neighbour that is j itself has no direction from there, but a Gaussian of its distance
        gaussians = torch.exp(-((((other + 1e-12).sqrt()[:, None] - self.gaussians) / SPACING) ** 2))
        inside = bump(distances / self.trunk.cutoff)
        basis = self.trunk.basis(distances) * inside[:, None]
        features = torch.cat(
            (gaussians, basis[edge], near.neighbours(types)[edge], pairs.far.neighbours(types)[pair]), dim=1
        )
        by_degree = self.around(features, inside[edge] * envelope[pair])
        by_degree = by_degree.view(len(edge), len(DEGREE_SIZES), -1)
        by_row = torch.cat(
            [w.expand(-1, size, -1) for w, size in zip(by_degree.split(1, dim=1), DEGREE_SIZES, strict=True)], dim=1
        )
        angles = harmonics(to_k / distances[:, None])
        total = by_row.new_zeros((len(vectors), N_ROWS, by_row.shape[2]))
        summed = total.index_add(0, pair, by_row * angles[edge][:, :, None])
        return summed / self.trunk.config.average_neighbours**0.5
