"""What predictions and labels are compared by; each has a closed form that its test knows.

Residuals come in as tensors, so that whatever made them stays differentiable. ``norm_only`` is a baseline and no loss:
it cannot tell force constants from the same ones rotated, see its test.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from aiida_mlfc.core.units import FREQUENCY_FACTOR_THZ

#: (THz)², where the root of a squared frequency is rounded off: it has no derivative at zero
SOFT = 1e-2
#: learned weights stay within exp(±LARGEST_LOG_WEIGHT)
LARGEST_LOG_WEIGHT = 6.0


def energy_per_atom(predicted: Tensor, expected: Tensor, n_atoms: Tensor) -> Tensor:
    """Mean over systems of ((E - E_ref) / n)², eV².

    :param predicted: shape ``(n_systems,)``, eV; likewise ``expected``.
    :param n_atoms: atoms of each system, shape ``(n_systems,)``.
    """
    return ((predicted - expected) / n_atoms).square().mean()


def force(predicted: Tensor, expected: Tensor) -> Tensor:
    """Mean over atoms and directions of (F - F_ref)², (eV/Å)².

    :param predicted: shape ``(n_atoms, 3)``, eV/Å; likewise ``expected``.
    """
    return (predicted - expected).square().mean()


def stress(predicted: Tensor, expected: Tensor) -> Tensor:
    """Mean over systems of |σ - σ_ref|², GPa².

    :param predicted: shape ``(n_systems, 3, 3)``, GPa; likewise ``expected``.
    """
    return (predicted - expected).square().sum(dim=(1, 2)).mean()


def force_constant_column(products: Tensor, expected: Tensor) -> Tensor:
    """Mean absolute error of columns of the Hessian, eV/Å²: phonopy's force set of one displaced atom, step to zero.

    :param products: H e for unit vectors e of single coordinates, shape ``(..., n_atoms, 3)``; likewise ``expected``.
    """
    return (products - expected).abs().mean()


def frobenius(products: Tensor, expected: Tensor) -> Tensor:
    """Mean over vectors of |(H - Φ) v|², (eV/Å²)²: with ⟨v vᵀ⟩ = 1 an unbiased estimate of |H - Φ|² (Hutchinson).

    :param products: H v, shape ``(n_vectors, n_coordinates)``; likewise ``expected``, Φ v.
    """
    return (products - expected).square().sum(dim=1).mean()


def relative_frobenius(products: Tensor, expected: Tensor) -> Tensor:
    """The square root of Σ|(H - Φ) v|² / Σ|Φ v|², without a unit; with all vectors of a basis |H - Φ| / |Φ| exactly."""
    return ((products - expected).square().sum() / expected.square().sum()).sqrt()


def mode_frequencies(products: Tensor, modes: Tensor) -> Tensor:
    """Frequencies along given modes, √(eᵀ D e) with the sign of what is under the root, THz.

    :param products: H v of v = M^-1/2 e, shape ``(n_modes, n_coordinates)``, eV/Å² amu^-1/2.
    :param modes: v, the same shape; e are unit vectors, those of the reference.
    """
    return signed_root((modes * products).sum(dim=1))


def signed_root(squares: Tensor) -> Tensor:
    """Frequencies of squared ones, imaginary ones negative, THz.

    :param squares: eV/Å²/amu.
    """
    in_thz = squares * FREQUENCY_FACTOR_THZ**2
    return in_thz / (in_thz.abs() + SOFT).sqrt()


def modes(products: Tensor, expected: Tensor, vectors: Tensor) -> Tensor:
    """Mean squared error of frequencies along the modes of the reference, THz².

    :param products: see :func:`mode_frequencies`; likewise ``expected``, of the reference.
    """
    return (mode_frequencies(products, vectors) - mode_frequencies(expected, vectors)).square().mean()


def norm_only(hessian: Tensor, expected: Tensor) -> Tensor:
    """BASELINE, not to be trained with: (|H| - |Φ|)², as in the source document, is blind to rotation of Φ.

    :param hessian: shape ``(n, n)``, eV/Å²; likewise ``expected``.
    """
    return (torch.linalg.norm(hessian) - torch.linalg.norm(expected)).square()


def learned_weighting(terms: Sequence[Tensor], log_variances: Tensor) -> Tensor:
    """Σ_k exp(-s_k) L_k + s_k, which for fixed L_k is smallest at s_k = ln L_k (Kendall and Gal, arXiv:1705.07115).

    :param log_variances: what s_k are made of, shape ``(n_terms,)``: c tanh(x / c), within ± c.
    """
    s = LARGEST_LOG_WEIGHT * torch.tanh(log_variances / LARGEST_LOG_WEIGHT)
    return sum((torch.exp(-s[k]) * term + s[k] for k, term in enumerate(terms)), s.new_zeros(()))
