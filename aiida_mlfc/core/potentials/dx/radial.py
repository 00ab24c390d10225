"""Distances into features: envelopes, the sine basis, and the radial network whose output dies at the cutoff."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn


def bump(t: Tensor) -> Tensor:
    """exp(1 - 1/(1 - t²)) below t = 1, zero above; every derivative is continuous.

    :param t: distance over cutoff, any shape.
    """
    inside = t < 1
    # where() alone would let the NaN gradient of the masked branch through, so t itself is masked first.
    safe = torch.where(inside, t, torch.zeros_like(t))
    return torch.where(inside, torch.exp(1 - 1 / (1 - safe * safe)), torch.zeros_like(t))


def quartic(t: Tensor) -> Tensor:
    """(1 - t²)⁴ below t = 1, zero above; three continuous derivatives."""
    return torch.where(t < 1, (1 - t * t) ** 4, torch.zeros_like(t))


def polynomial(t: Tensor) -> Tensor:
    """DimeNet's envelope with p = 6 (arXiv:2003.03123): 1 - 28 t⁶ + 48 t⁷ - 21 t⁸; two continuous derivatives."""
    return torch.where(t < 1, 1 + t**6 * (-28 + t * (48 - 21 * t)), torch.zeros_like(t))


ENVELOPES: dict[str, Callable[[Tensor], Tensor]] = {'bump': bump, 'quartic': quartic, 'polynomial': polynomial}


class SineBasis(nn.Module):
    """b_n(d) = √(2/r_c) sin(n π d / r_c) / d, fixed frequencies (arXiv:2003.03123)."""

    frequencies: Tensor

    def __init__(self, n_radial: int, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.register_buffer('frequencies', self._frequencies(n_radial), persistent=False)

    def _frequencies(self, n_radial: int) -> Tensor:
        return torch.arange(1, n_radial + 1, dtype=torch.float64) * (math.pi / self.cutoff)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> SineBasis:
        super()._apply(fn, recurse)
        # Remade, not cast: the same model must not depend on a detour through float32.
        self.frequencies.copy_(self._frequencies(len(self.frequencies)))
        return self

    def forward(self, distances: Tensor) -> Tensor:
        """:param distances: shape ``(n_edges,)``, Å.  :return: shape ``(n_edges, n_radial)``."""
        d = distances[:, None]
        return math.sqrt(2 / self.cutoff) * torch.sin(self.frequencies * d) / d


class RadialNetwork(nn.Module):
    """Linear-SiLU-Linear-SiLU-Linear, output times the envelope: no edge effect survives at the cutoff."""

    def __init__(self, n_in: int, width: int, n_out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_in, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, n_out)
        )
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
                nn.init.zeros_(layer.bias)

    def forward(self, edge_features: Tensor, envelope: Tensor) -> Tensor:
        """:param edge_features: shape ``(n_edges, n_in)``.  :param envelope: shape ``(n_edges,)``."""
        return self.layers(edge_features) * envelope[:, None]
