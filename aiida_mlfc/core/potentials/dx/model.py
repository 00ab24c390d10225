"""DXModel: a periodic, O(3)-equivariant graph-attention energy, smooth enough for force constants.

Blocks follow Equiformer (arXiv:2206.11990) with what phonons need changed: all periodic images, an envelope on every
radial output and inside the softmax, one merged norm instead of one a degree, natural parity 0e + 1o + 2e, reference
energies by type, a sum over atoms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from aiida_mlfc.core.potentials.dx.attention import EdgeGeometry, GraphAttention
from aiida_mlfc.core.potentials.dx.config import DXConfig
from aiida_mlfc.core.potentials.dx.expansion import ClusterExpansion
from aiida_mlfc.core.potentials.dx.layers import DegreeNorm, FeedForward
from aiida_mlfc.core.potentials.dx.radial import ENVELOPES, RadialNetwork, SineBasis
from aiida_mlfc.core.potentials.dx.repulsion import Repulsion
from aiida_mlfc.core.potentials.dx.tensor_product import DEGREE_SIZES, N_ROWS, coupling_tensor, edge_matrices, harmonics
from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.long_range import LatentCharges


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each added to its input."""

    def __init__(self, config: DXConfig, n_edge_features: int) -> None:
        super().__init__()
        self.attention_norm = DegreeNorm(config.channels, config.norm)
        self.attention = GraphAttention(config, n_edge_features)
        self.feed_forward_norm = DegreeNorm(config.channels, config.norm)
        self.feed_forward = FeedForward(config.channels)

    def forward(self, x: Tensor, graph: AtomGraph, edges: EdgeGeometry) -> Tensor:
        x = x + self.attention(self.attention_norm(x), graph, edges)
        return x + self.feed_forward(self.feed_forward_norm(x))


class DXModel(EnergyModel):
    """The dx energy model.

    :param config: every choice of the architecture.
    :param metadata: the model card that travels with the weights.
    """

    coupling: Tensor
    reference_energies: Tensor

    def __init__(self, config: DXConfig, metadata: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.config = config
        self.metadata = dict(metadata or {})
        self.species = config.species
        # Recomputed blocks open the door anew inside the second backward, where vmap cannot follow.
        self.neighbours_only = not config.checkpoint_blocks
        self.cutoff = config.cutoff
        self.n_message_layers = config.n_layers + 1
        # The embedding by degree reads neighbours once more than there are blocks.
        self.interaction_range = self.n_message_layers * config.cutoff
        n_types, c = len(config.species), config.channels
        self.basis = SineBasis(config.n_radial, config.cutoff)
        self.register_buffer('coupling', coupling_tensor(), persistent=False)
        self.type_features = nn.Parameter(torch.randn(n_types, c))
        self.edge_type_features = nn.Parameter(torch.randn(n_types, config.type_channels))
        n_edge_features = config.n_radial + 2 * config.type_channels
        self.embedding = RadialNetwork(n_edge_features, config.radial_width, len(DEGREE_SIZES) * c)
        self.blocks = nn.ModuleList(Block(config, n_edge_features) for _ in range(config.n_layers))
        self.final_norm = DegreeNorm(c, config.norm)
        self.readout = nn.Sequential(nn.Linear(c, c), nn.SiLU(), nn.Linear(c, 1))
        #: energy of each species in the model's zero, shape ``(n_species,)``, eV
        self.register_buffer('reference_energies', torch.zeros(n_types))
        self.electrostatics = LatentCharges(n_types, config.charge_width) if config.electrostatics else None
        self.expansion = _expansion(config)
        if self.expansion is not None:
            self.cutoff = max(self.cutoff, self.expansion.cutoff)
            self.interaction_range = max(self.interaction_range, self.expansion.reach)
        self.repulsion = Repulsion(config.species, config.repulsion) if config.repulsion else None
        self.to(torch.get_default_dtype())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> DXModel:
        super()._apply(fn, recurse)
        # Remade, not cast: rounded to float32 on the way to float64 it would break rotation invariance at 1e-8.
        self.coupling.copy_(coupling_tensor())
        return self

    def forward(self, graph: AtomGraph) -> Tensor:
        """Energies, shape ``(n_systems,)``, eV. See :class:`EnergyModel`."""
        local = self.local_energy(graph)
        return local if self.electrostatics is None else local + self.electrostatics(graph)

    @property
    def long_range(self) -> LatentCharges | None:
        return self.electrostatics

    @property
    def message_cutoff(self) -> float:
        return self.config.cutoff

    @property
    def is_silent(self) -> bool:
        """Whether the network has nothing to say and will not learn to: its last weights are zero and frozen."""
        return not any(weights.requires_grad or bool(weights.any()) for weights in self.readout[-1].parameters())

    def silence(self) -> None:
        """Let the network start with nothing to say."""
        for weights in self.readout[-1].parameters():
            nn.init.zeros_(weights)

    def set_members(self, differences: Tensor) -> None:
        """Take an ensemble of coefficients of the expansion along, in place of the one that there is.

        :param differences: from the coefficients, shape ``(n_members, n_coefficients)``.
        """
        assert self.expansion is not None
        self.expansion.set_members(differences)
        self.config = replace(self.config, expansion_members=len(differences))

    def local_energy(self, graph: AtomGraph) -> Tensor:
        return graph.sum_to_systems(self.atomic_energies(graph))

    def atomic_energies(self, graph: AtomGraph) -> Tensor:
        """Contribution of each atom without electrostatics, shape ``(n_atoms,)``, eV; only their sum has a meaning."""
        own = graph.atom_types @ self.reference_energies
        if self.repulsion is not None:
            own = own + self.repulsion(graph)
        if self.expansion is not None:
            own = own + self.expansion(graph)
            if self.is_silent:
                return own
        edges, graph, x = self._embed(graph)
        for block in self.blocks:
            if self.config.checkpoint_blocks and torch.is_grad_enabled():
                x = checkpoint(block, x, graph, edges, use_reentrant=False)
            else:
                x = block(x, graph, edges)
        scalars = self.final_norm(x)[:, 0]
        return self.config.energy_scale * self.readout(scalars)[:, 0] + own

    def _embed(self, graph: AtomGraph) -> tuple[EdgeGeometry, AtomGraph, Tensor]:
        """Edge geometry, the graph of these edges, and first features: type embedding plus neighbours by degree."""
        vectors = graph.edge_vectors()
        distances = vectors.square().sum(-1).sqrt()
        if self.cutoff > self.config.cutoff:
            # beyond its own cutoff everything of the network is zero, with all derivatives
            near = torch.nonzero(distances.detach() < self.config.cutoff)[:, 0]
            graph, vectors, distances = graph.within(near), vectors[near], distances[near]
        envelope = ENVELOPES[self.config.envelope](distances / self.config.cutoff)
        types = graph.atom_types @ self.edge_type_features
        features = torch.cat(
            (self.basis(distances) * envelope[:, None], graph.centres(types), graph.neighbours(types)), dim=1
        )
        angles = harmonics(vectors / distances[:, None])
        edges = EdgeGeometry(features, envelope, edge_matrices(self.coupling, angles))
        by_degree = self.embedding(features, envelope).view(-1, len(DEGREE_SIZES), self.config.channels)
        by_row = torch.cat(
            [w.expand(-1, size, -1) for w, size in zip(by_degree.split(1, dim=1), DEGREE_SIZES, strict=True)], dim=1
        )
        x = graph.sum_to_centres(by_row * angles[:, :, None]) / self.config.average_neighbours**0.5
        scalars = (graph.atom_types @ self.type_features)[:, None]
        return edges, graph, x + nn.functional.pad(scalars, (0, 0, 0, N_ROWS - 1))


def _expansion(config: DXConfig) -> ClusterExpansion | None:
    if not config.expansion_systems:
        return None
    systems = [[config.species.index(z) for z in system] for system in config.expansion_systems]
    lengths = (config.pair_cutoff, config.triplet_cutoff, config.pair_spacing, config.triplet_spacing)
    return ClusterExpansion(len(config.species), systems, *lengths, config.expansion_members)
