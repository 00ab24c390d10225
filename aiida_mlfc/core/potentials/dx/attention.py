"""Graph attention whose weights vanish smoothly at the cutoff."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from aiida_mlfc.core.potentials.dx.config import DXConfig
from aiida_mlfc.core.potentials.dx.layers import DegreeLinear, gate
from aiida_mlfc.core.potentials.dx.radial import RadialNetwork
from aiida_mlfc.core.potentials.dx.tensor_product import N_PATHS, depthwise_product
from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph

#: attention scores are bounded by this; with it neither a detached maximum nor an epsilon is needed
SCORE_CAP = 5.0


@dataclass(frozen=True)
class EdgeGeometry:
    """What all layers share about the edges.

    :param features: radial basis and type embeddings of both ends, shape ``(n_edges, n_radial + 2 type_channels)``.
    :param envelope: shape ``(n_edges,)``, zero at and beyond the cutoff.
    :param matrices: geometry of the tensor product, one for each degree of the feature.
    """

    features: Tensor
    envelope: Tensor
    matrices: tuple[Tensor, ...]


class GraphAttention(nn.Module):
    """Messages by tensor product, weighted by attention over the neighbours of each atom."""

    def __init__(self, config: DXConfig, n_edge_features: int) -> None:
        super().__init__()
        c, heads, width = config.channels, config.n_heads, config.attention_channels
        self.config = config
        self.source = DegreeLinear(c, c)
        self.target = DegreeLinear(c, c, bias=False)
        self.radial = RadialNetwork(n_edge_features, config.radial_width, N_PATHS * c)
        self.scores = nn.Linear(c, heads * width + 2 * c)
        self.query = nn.Parameter(torch.randn(heads, width) * width**-0.5)
        self.sink = nn.Parameter(torch.zeros(heads))
        self.value = DegreeLinear(c, c)
        self.second_weights = nn.Parameter(torch.randn(1, N_PATHS, c)) if config.nonlinear else None
        self.second_value = DegreeLinear(c, c) if config.nonlinear else None
        self.project = DegreeLinear(c, c)

    def forward(self, x: Tensor, graph: AtomGraph, edges: EdgeGeometry) -> Tensor:
        """:param x: shape ``(n_atoms, 9, channels)``, same shape returned."""
        c, heads = self.config.channels, self.config.n_heads
        weights = self.radial(edges.features, edges.envelope).view(-1, N_PATHS, c)
        message = depthwise_product(
            graph.neighbours(self.source(x)) + graph.centres(self.target(x)), edges.matrices, weights
        )
        raw, gates = self.scores(message[:, 0]).split([heads * self.config.attention_channels, 2 * c], dim=-1)
        value = gate(self.value(message), gates)
        if self.second_value is not None:
            value = self.second_value(depthwise_product(value, edges.matrices, self.second_weights))
        score = (silu(raw).view(-1, heads, self.config.attention_channels) * self.query).sum(-1)
        attention = self._attention(SCORE_CAP * torch.tanh(score / SCORE_CAP), graph, edges.envelope)
        # heads slice the channels
        value = value * attention.repeat_interleave(c // heads, dim=1)[:, None]
        return self.project(graph.sum_to_centres(value))

    def _attention(self, score: Tensor, graph: AtomGraph, envelope: Tensor) -> Tensor:
        """Weight of each edge and head, shape ``(n_edges, n_heads)``."""
        kind, root = self.config.attention, self.config.average_neighbours**0.5
        if kind == 'none':
            return (envelope / root)[:, None].expand_as(score)
        if kind == 'sigmoid':
            return envelope[:, None] * score.sigmoid() / root
        if kind == 'smooth_softmax':
            # The envelope stands inside the softmax: otherwise its denominator jumps at the cutoff.
            weight = envelope[:, None] * score.exp()
            total = graph.sum_to_centres(weight) + self.sink.exp()
        else:
            weight = score.exp()
            total = graph.sum_to_centres(weight)
        return weight / graph.centres(total)
