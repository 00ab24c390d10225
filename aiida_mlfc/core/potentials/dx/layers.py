"""Equivariant building blocks that act on one atom or edge alone: linear maps, gate, norms, feed-forward."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from aiida_mlfc.core.potentials.dx.tensor_product import DEGREE_SIZES

#: added to the mean square inside a norm
NORM_EPSILON = 1e-5


class DegreeLinear(nn.Module):
    """One matrix a degree on the channels; a bias on l = 0 only, where it keeps equivariance."""

    def __init__(self, n_in: int, n_out: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(len(DEGREE_SIZES), n_in, n_out) * n_in**-0.5)
        self.bias = nn.Parameter(torch.zeros(n_out)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """:param x: shape ``(n, 9, n_in)``.  :return: shape ``(n, 9, n_out)``."""
        scalars, vectors, tensors = (
            part @ w for part, w in zip(x.split(DEGREE_SIZES, dim=1), self.weight, strict=True)
        )
        if self.bias is not None:
            scalars = scalars + self.bias
        return torch.cat((scalars, vectors, tensors), dim=1)


def gate(x: Tensor, gates: Tensor) -> Tensor:
    """SiLU on scalars, sigmoid gates on vectors and tensors.

    :param x: shape ``(n, 9, channels)``.
    :param gates: scalars, shape ``(n, 2 * channels)``.
    """
    scalars, vectors, tensors = x.split(DEGREE_SIZES, dim=1)
    for_vectors, for_tensors = gates.sigmoid()[:, None].chunk(2, dim=-1)
    return torch.cat((silu(scalars), vectors * for_vectors, tensors * for_tensors), dim=1)


def _mean_squares(x: Tensor) -> list[Tensor]:
    return [part.square().mean(dim=(1, 2), keepdim=True) for part in x.split(DEGREE_SIZES, dim=1)]


class DegreeNorm(nn.Module):
    """Root-mean-square norm with a gain for each degree and channel.

    ``merged``: one factor for all degrees. ``per_degree``: one a degree, kept only to reproduce its defect: at a
    perfect crystal l > 0 features vanish by symmetry, the gain is 1/√ε there and the Hessian explodes. ``none``: gain.
    """

    def __init__(self, channels: int, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.gain = nn.Parameter(torch.ones(len(DEGREE_SIZES), channels))

    def forward(self, x: Tensor) -> Tensor:
        """:param x: shape ``(n, 9, channels)``, same shape returned."""
        if self.kind == 'merged':
            mean_square = sum(_mean_squares(x)) / len(DEGREE_SIZES)
            x = x * (mean_square + NORM_EPSILON).rsqrt()
        elif self.kind == 'per_degree':
            factors = [(ms + NORM_EPSILON).rsqrt() for ms in _mean_squares(x)]
            x = torch.cat([part * f for part, f in zip(x.split(DEGREE_SIZES, dim=1), factors, strict=True)], dim=1)
        gains = [g.expand(size, -1) for g, size in zip(self.gain, DEGREE_SIZES, strict=True)]
        return x * torch.cat(gains)


class FeedForward(nn.Module):
    """DegreeLinear up, gate, DegreeLinear down, on each atom alone."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.up = DegreeLinear(channels, 2 * channels)
        self.gates = nn.Linear(channels, 4 * channels)
        self.down = DegreeLinear(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """:param x: shape ``(n_atoms, 9, channels)``, same shape returned."""
        return self.down(gate(self.up(x), self.gates(x[:, 0])))
