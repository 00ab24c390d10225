"""M3GNet in MatterSim's layout (arXiv:2405.04967, arXiv:2202.02450): an energy with exact derivatives of every order.

The official forward sums over pairs of edges and takes cosθ through a clamp and an arccosine, which loses a term of the
second derivative wherever three atoms are on a line. Here the sum over the other edges is done by the addition theorem,

    S_e,ln = f(r_e) Σ_{e'≠e} Y_l0(cosθ_ee') j_ln(r_e') f(r_e')
           = f(r_e) [ Σ_m C_lm(e) ρ_lmn(centre of e) - R_ln(e) ],   ρ_lmn = Σ_e' C_lm(e') R_ln(e'),

with R_ln = √((2l+1)/4π) j_ln f: equal to the last digits, no angle is ever formed, the cost grows with the number of
edges and not of their pairs. The gate of each block sees the centre only, so one sum serves all blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.mattersim.activations import silu
from aiida_mlfc.core.potentials.mattersim.basis import (
    DEGREE_OF_ROW,
    DEGREE_SIZES,
    MAX_L,
    MAX_N,
    SmoothBessel,
    SphericalBessel,
    envelope,
    harmonics,
)
from aiida_mlfc.core.potentials.mattersim.blocks import Block, GatedNetwork, Network


@dataclass(frozen=True)
class M3GNetConfig:
    """What a checkpoint's ``model_args`` fix."""

    #: message blocks: 3 in the 1M model, 4 in the 5M model
    num_blocks: int
    #: width of atom and edge features: 128 and 256
    units: int
    #: two-body cutoff, Å
    cutoff: float
    #: three-body cutoff, Å
    threebody_cutoff: float
    #: largest atomic number with an embedding
    max_z: int


class Normaliser(nn.Module):
    """Scale and shift of each element, indexed by atomic number, eV; row 0 is unused."""

    scale: Tensor
    shift: Tensor

    def __init__(self, max_z: int) -> None:
        super().__init__()
        self.register_buffer('scale', torch.ones(max_z + 1))
        self.register_buffer('shift', torch.zeros(max_z + 1))

    def forward(self, energies: Tensor, atom_types: Tensor) -> Tensor:
        return (atom_types @ self.scale) * energies + atom_types @ self.shift


class M3GNet(EnergyModel):
    """The MatterSim energy.

    ``graph.atom_types`` has ``max_z + 1`` columns indexed by atomic number, column 0 unused. Soft types act through
    embedding and normaliser alike, the exact linear extension of the one-hot model.

    :param config: sizes and cutoffs.
    :param metadata: the model card that travels with the weights.
    """

    degree_of_row: Tensor

    def __init__(self, config: M3GNetConfig, metadata: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.config = config
        self.metadata = dict(metadata or {})
        self.species = tuple(range(config.max_z + 1))
        self.cutoff = config.cutoff
        self.n_message_layers = config.num_blocks
        self.interaction_range = config.num_blocks * config.cutoff
        units = config.units
        self.rbf = SmoothBessel(config.cutoff)
        self.sbf = SphericalBessel(config.cutoff)
        self.edge_encoder = Network(MAX_N, units)
        self.graph_conv = nn.ModuleList(Block(units) for _ in range(config.num_blocks))
        self.final = GatedNetwork((units, units, units, 1), ends_in_swish=False)
        self.atom_embedding = Network(config.max_z + 1, units)
        self.normalizer = Normaliser(config.max_z)
        self.register_buffer('degree_of_row', torch.tensor(DEGREE_OF_ROW), persistent=False)

    def forward(self, graph: AtomGraph) -> Tensor:
        """Energies, shape ``(n_systems,)``, eV. See :class:`EnergyModel`."""
        return graph.sum_to_systems(self.atomic_energies(graph))

    def atomic_energies(self, graph: AtomGraph, normaliser_types: Tensor | None = None) -> Tensor:
        """Contribution of each atom, shape ``(n_atoms,)``, eV; only their sum has a meaning.

        :param normaliser_types: types that choose scale and shift, shape ``(n_atoms, n_species)``; those of ``graph``
            by default.
        """
        vectors = graph.edge_vectors()
        distances = vectors.square().sum(-1).sqrt()
        radial = self.rbf(distances)
        short, short_graph = self._short_edges(distances, graph)
        near = distances.index_select(0, short)
        sums = self.three_body_sums(vectors.index_select(0, short) / near[:, None], near, short_graph)
        e = silu(self.edge_encoder(radial))
        v = self.atom_embedding(graph.atom_types)
        for block in self.graph_conv:
            v, e = block(v, e, radial, sums, graph, short, short_graph)
        types = graph.atom_types if normaliser_types is None else normaliser_types
        return self.normalizer(self.final(v)[:, 0], types)

    def _short_edges(self, distances: Tensor, graph: AtomGraph) -> tuple[Tensor, AtomGraph]:
        """Indices of the edges that have three-body terms, about half of all, and the graph of these alone."""
        if torch.compiler.is_compiling():
            # A number of edges that depends on data breaks the compiled function; the envelope is zero on the others.
            return torch.arange(graph.n_edges, device=distances.device), graph
        short = torch.nonzero(distances.detach() < self.config.threebody_cutoff)[:, 0]
        edge_index, shifts = graph.edge_index.index_select(1, short), graph.edge_cell_shifts.index_select(0, short)
        return short, AtomGraph(graph.positions, graph.cell, graph.atom_types, graph.batch, edge_index, shifts)

    def three_body_sums(self, directions: Tensor, distances: Tensor, graph: AtomGraph) -> Tensor:
        """S_e of the module's docstring, shape ``(n_edges, 16)``, index l * 4 + n.

        :param directions: unit vectors, shape ``(n_edges, 3)``.
        :param distances: shape ``(n_edges,)``, Å.
        """
        f = envelope(distances, self.config.threebody_cutoff)[:, None, None]
        radial = self.sbf(distances) * f
        angular = harmonics(directions)[:, :, None]
        density = graph.sum_to_centres(angular * radial.index_select(1, self.degree_of_row))
        products = (angular * graph.centres(density)).split(DEGREE_SIZES, dim=1)
        sums = torch.stack([p.sum(1) for p in products], dim=1) - radial
        return (f * sums).view(-1, MAX_L * MAX_N)
