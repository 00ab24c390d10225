"""The learned parts of M3GNet: gated networks with official parameter names, the three-body gate, the message block."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.mattersim.activations import gate, silu
from aiida_mlfc.core.potentials.mattersim.basis import MAX_L, MAX_N
from aiida_mlfc.core.potentials.mattersim.stacked import Stacked


class Dense(nn.Module):
    """A linear layer under the official name ``linear``; the activation is applied by whoever owns it."""

    def __init__(self, n_in: int, n_out: int, bias: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(n_in, n_out, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


class Network(nn.Module):
    """Dense layers under the official name ``mlp``, without bias; used for single layers only."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(Dense(n_in, n_out, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        # Contiguous: the backward pass of narrow matrices is three times faster in this layout.
        return x @ self.mlp[0].linear.weight.T.contiguous()


class GatedNetwork(nn.Module):
    """g(x) σ(x): two networks of equal shape, swish between layers; σ ends in a sigmoid.

    :param widths: sizes from input to output.
    :param ends_in_swish: whether g ends in swish; otherwise its last layer is linear.
    """

    def __init__(self, widths: Sequence[int], ends_in_swish: bool = True, bias: bool = True) -> None:
        super().__init__()
        pairs = list(pairwise(widths))
        self.g = nn.Sequential(*(Dense(n_in, n_out, bias) for n_in, n_out in pairs))
        self.sigma = nn.Sequential(*(Dense(n_in, n_out, bias) for n_in, n_out in pairs))
        self.ends_in_swish = ends_in_swish

    def forward(self, x: Tensor) -> Tensor:
        return self.from_first_layer(self.g[0](x), self.sigma[0](x))

    def from_first_layer(
        self, g: Tensor, sigma: Tensor, radial: Tensor | None = None, weight: Tensor | None = None, swish: bool = False
    ) -> Tensor:
        """The rest of the network, given the outputs of both first layers before activation.

        :param radial: with the others, what is multiplied onto the result; see :func:`gate`.
        """
        for g_layer, sigma_layer in zip(self.g[1:], self.sigma[1:], strict=True):
            g, sigma = g_layer(silu(g)), sigma_layer(silu(sigma))
        return gate(g, sigma, radial, weight, swish) if self.ends_in_swish else g * torch.sigmoid(sigma)

    def first_layers(self) -> tuple[nn.Linear, nn.Linear]:
        """The first layers of g and of sigma."""
        return self.g[0].linear, self.sigma[0].linear


class ThreeBodyGate(nn.Module):
    """What an edge learns from the other edges of its centre: gate(σ(A v_centre) S_edge)."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.atom_mlp = Dense(units, MAX_L * MAX_N)
        self.edge_gate_mlp = GatedNetwork((MAX_L * MAX_N, units), bias=False)

    def forward(self, v: Tensor, sums: Tensor, graph: AtomGraph) -> Tensor:
        """:param v: ``(n_atoms, units)``.  :param sums: ``(n_edges, 16)``.  :return: ``(n_edges, units)``."""
        return self.edge_gate_mlp(graph.centres(torch.sigmoid(self.atom_mlp(v))) * sums)


class Block(nn.Module):
    """One round of messages: three-body gate, edge update, atom update.

    The first layers on [v_centre, v_neighbour, e] are split into a product per atom and one per edge, and both updates
    read the same v: a single gather of neighbours serves the block.
    """

    def __init__(self, units: int) -> None:
        super().__init__()
        self.gated_mlp_atom = GatedNetwork((3 * units, units, units))
        self.edge_layer_atom = Dense(MAX_N, units, bias=False)
        self.gated_mlp_edge = GatedNetwork((3 * units, units, units))
        self.edge_layer_edge = Dense(MAX_N, units, bias=False)
        self.three_body = ThreeBodyGate(units)
        self._weight, self._bias = Stacked(), Stacked()

    def forward(
        self,
        v: Tensor,
        e: Tensor,
        radial: Tensor,
        sums: Tensor,
        graph: AtomGraph,
        short: Tensor,
        short_graph: AtomGraph,
    ) -> tuple[Tensor, Tensor]:
        """New atom and edge features.

        :param v: atom features, shape ``(n_atoms, units)``.
        :param e: edge features, shape ``(n_edges, units)``.
        :param radial: smooth Bessel functions, shape ``(n_edges, 4)``.
        :param sums: three-body sums of the short edges, shape ``(n_short, 16)``.
        :param short: which edges these are, shape ``(n_short,)``.
        :param short_graph: the graph of these edges alone.
        """
        units = v.shape[1]
        e = e.index_add(0, short, self.three_body(v, sums, short_graph))
        layers = [*self.gated_mlp_edge.first_layers(), *self.gated_mlp_atom.first_layers()]
        weight, bias = (
            stacked(*(getattr(layer, name) for layer in layers))
            for stacked, name in ((self._weight, 'weight'), (self._bias, 'bias'))
        )
        as_centre, as_neighbour, _ = weight.split(units, dim=1)
        # In place: this is the largest tensor there is, and no backward pass asks for what was in it.
        pairs = graph.neighbours(linear(v, as_neighbour)).add_(graph.centres(linear(v, as_centre, bias)))
        of_pairs = pairs.split(units, dim=1)
        of_edge = [layer.weight[:, 2 * units :].T for layer in layers]

        g, sigma = (torch.addmm(of_pairs[k], e, of_edge[k]) for k in (0, 1))
        e = e + self.gated_mlp_edge.from_first_layer(g, sigma, radial, self.edge_layer_edge.linear.weight)
        g, sigma = (torch.addmm(of_pairs[k], e, of_edge[k]) for k in (2, 3))
        weight = self.edge_layer_atom.linear.weight
        message = self.gated_mlp_atom.from_first_layer(g, sigma, radial, weight, swish=True)
        return v + graph.sum_to_centres(message), e
