"""Distances and directions into features: smooth Bessel functions, spherical Bessel functions, harmonics, the envelope.

Buffers keep the names and float32 values of official checkpoints: recomputed in float64 they would move energies by
5e-7 eV.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

#: degrees l of the three-body term, and radial functions of each; the official loops are right for 4 and 4 only
MAX_L = 4
MAX_N = 4
#: sizes 2l+1 of the degrees, and the degree of each of the 16 harmonics
DEGREE_SIZES = (1, 3, 5, 7)
DEGREE_OF_ROW = tuple(degree for degree, size in enumerate(DEGREE_SIZES) for _ in range(size))
#: Y_l0 = √((2l+1)/4π) P_l, the factor by which the official angular basis differs from Legendre polynomials
LEGENDRE_FACTORS = tuple(math.sqrt((2 * degree + 1) / (4 * math.pi)) for degree in range(MAX_L))


class SmoothBessel(nn.Module):
    """Bessel functions orthogonalised so that value, slope and curvature vanish at the cutoff (arXiv:1907.02374).

    With the stored float32 numbers the curvature ends at 2e-7 and not at zero: a step of 1e-6 in a Hessian of order 1.

    :param cutoff: Å.
    """

    dn: Tensor
    en: Tensor
    fnr_weights: Tensor
    n_1_pi_cutoff: Tensor
    n_2_pi_cutoff: Tensor
    r_max: Tensor

    def __init__(self, cutoff: float) -> None:
        super().__init__()
        n = torch.arange(MAX_N)
        en = n**2 * (n + 2) ** 2 / (4 * (n + 1.0) ** 4 + 1)
        dn = [torch.ones(())]
        for k in range(1, MAX_N):
            dn.append(1 - en[k] / dn[-1])
        signs = 1 - 2 * (n % 2)
        weights = signs * math.sqrt(2) * math.pi / cutoff**1.5 * (n + 1) * (n + 2) / torch.sqrt(2.0 * n**2 + 6 * n + 5)
        self.register_buffer('dn', torch.stack(dn))
        self.register_buffer('en', en[None])
        self.register_buffer('fnr_weights', weights[None])
        self.register_buffer('n_1_pi_cutoff', ((n + 1) * (math.pi / cutoff))[None])
        self.register_buffer('n_2_pi_cutoff', ((n + 2) * (math.pi / cutoff))[None])
        self.register_buffer('r_max', torch.tensor(float(cutoff)))

    def forward(self, distances: Tensor) -> Tensor:
        """:param distances: shape ``(n_edges,)``, Å.  :return: shape ``(n_edges, 4)``, zero beyond the cutoff."""
        d = distances[:, None]
        first, second = d * self.n_1_pi_cutoff, d * self.n_2_pi_cutoff
        raw = self.fnr_weights * (torch.sin(first) / first + torch.sin(second) / second)
        smooth = [raw[:, 0]]
        for k in range(1, MAX_N):
            previous = torch.sqrt(self.en[0, k] / self.dn[k - 1]) * smooth[-1]
            smooth.append((raw[:, k] + previous) / torch.sqrt(self.dn[k]))
        # Beyond the cutoff the functions come back; a list with a skin holds such edges.
        return torch.where(d < self.r_max, torch.stack(smooth, dim=1), 0.0)


class SphericalBessel(nn.Module):
    """√((2l+1)/4π) j_l(z_ln r / r_c), normalised, as polynomials in 1/r times sine and cosine.

    :param cutoff: r_c in Å. It is the two-body cutoff, although the functions serve the three-body sum.
    """

    factor: Tensor
    coef: Tensor

    def __init__(self, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.register_buffer('factor', torch.tensor(math.sqrt(2 / cutoff**3)))
        #: coef[l, k, n]: amplitudes and wave numbers by turns, as the official package tabulates them
        self.register_buffer('coef', torch.zeros(MAX_L, 9, MAX_N))

    def forward(self, distances: Tensor) -> Tensor:
        """:param distances: shape ``(n_edges,)``, Å.  :return: shape ``(n_edges, 4, 4)``, axes l and n."""
        x = (distances / self.cutoff)[:, None]
        y = 1 / x
        c = self.coef
        # All wave numbers of one degree are equal; loading checks it.
        sine = [torch.sin(c[0, 0] * x)] + [torch.sin(c[degree, 1] * x) for degree in (1, 2, 3)]
        cosine = [None] + [torch.cos(c[degree, 1] * x) for degree in (1, 2, 3)]
        radial = (
            sine[0] * y,
            (c[1, 0] * cosine[1] + c[1, 2] * sine[1] * y) * y,
            (c[2, 0] * sine[2] + (c[2, 4] * sine[2] * y - c[2, 2] * cosine[2]) * y) * y,
            (c[3, 0] * cosine[3] - (c[3, 2] * sine[3] + (c[3, 4] * cosine[3] - c[3, 6] * sine[3] * y) * y) * y) * y,
        )
        scaled = [factor * j for factor, j in zip(LEGENDRE_FACTORS, radial, strict=True)]
        return torch.stack(scaled, dim=1) * self.factor


def envelope(distances: Tensor, cutoff: float) -> Tensor:
    """1 - 6x⁵ + 15x⁴ - 10x³ with x = r/cutoff, zero beyond; two continuous derivatives.

    :param distances: any shape, Å.
    """
    x = distances / cutoff
    return torch.where(x < 1, 1 + x**3 * (-10 + x * (15 - 6 * x)), 0.0)


def harmonics(directions: Tensor) -> Tensor:
    """Racah-normalised real harmonics C_lm, so that Σ_m C_lm(a) C_lm(b) = P_l(a·b).

    :param directions: unit vectors, shape ``(n_edges, 3)``.
    :return: shape ``(n_edges, 16)``, l = 0 to 3, rows as in :data:`DEGREE_OF_ROW`.
    """
    x, y, z = directions.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    root3, root15 = math.sqrt(3), math.sqrt(15)
    a, b = math.sqrt(5 / 8), math.sqrt(3 / 8)
    return torch.stack(
        (
            torch.ones_like(x),
            x, y, z,
            root3 * x * y, root3 * y * z, 0.5 * (3 * zz - 1), root3 * x * z, root3 / 2 * (xx - yy),
            a * y * (3 * xx - yy), root15 * x * y * z, b * y * (5 * zz - 1), 0.5 * z * (5 * zz - 3),
            b * x * (5 * zz - 1), root15 / 2 * z * (xx - yy), a * x * (xx - 3 * yy),
        ),
        dim=1,
    )  # fmt: skip
