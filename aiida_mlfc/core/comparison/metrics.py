"""Errors of force constants and of frequencies; b against a, a being the reference."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from phonopy import Phonopy

from aiida_mlfc.core.comparison.sampling import Sampled

#: Å; distances closer than this belong to one shell of neighbours
SHELL_GAP = 0.05


@dataclass(frozen=True)
class Shell:
    """Pairs of atoms at one distance.

    :param distance: mean, Å.
    :param n_pairs: of an atom of the primitive cell and one of the supercell.
    :param mae: mean |Φ_b - Φ_a| over the nine components of the pairs, eV/Å².
    :param size: root mean square of Φ_a over the same components, eV/Å²: what predicting zero would get wrong.
    """

    distance: float
    n_pairs: int
    mae: float
    size: float


@dataclass(frozen=True)
class ForceConstantErrors:
    """Element by element, in equal supercells.

    :param relative_frobenius: |Φ_b - Φ_a| / |Φ_a| over all pairs; predicting zero gives exactly 1.
    :param max_error: largest component of the difference, eV/Å².
    :param shells: by distance, the atom itself first.
    """

    relative_frobenius: float
    max_error: float
    shells: list[Shell]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class FrequencyErrors:
    """Over wave vectors, each star with its weight, modes in ascending order at each.

    :param mae: THz.
    :param rmse: THz.
    :param max: largest absolute difference, THz.
    :param bias: mean of b - a, THz.
    :param per_band: MAE of each band, THz.
    :param n_qpoints: stars.
    """

    mae: float
    rmse: float
    max: float
    bias: float
    per_band: list[float]
    n_qpoints: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def frequency_errors(sampled: Sampled) -> FrequencyErrors:
    """Errors of b at the sampled wave vectors."""
    difference = sampled.b - sampled.a
    share = sampled.weights / sampled.weights.sum()
    per_band = share @ np.abs(difference)
    return FrequencyErrors(
        mae=float(per_band.mean()),
        rmse=float(np.sqrt((share @ difference**2).mean())),
        max=float(np.abs(difference).max()),
        bias=float((share @ difference).mean()),
        per_band=[float(x) for x in per_band],
        n_qpoints=len(sampled.qpoints),
    )


def pair_distances(phonon: Phonopy) -> np.ndarray:
    """Distance of each atom of the primitive cell to the nearest image of each of the supercell, Å.

    :return: shape ``(n_prim, n_super)``.
    """
    vectors, multiplicity = phonon.primitive.get_smallest_vectors()
    # phonopy's dense form: number of shortest vectors, and where they begin
    first = vectors[multiplicity[:, :, 1]]
    return np.linalg.norm(first @ np.array(phonon.primitive.cell), axis=2).T


def force_constant_errors(a: np.ndarray, b: np.ndarray, distances: np.ndarray) -> ForceConstantErrors:
    """Errors of b in equal supercells, equal order of atoms.

    :param a: compact, shape ``(n_prim, n_super, 3, 3)``, eV/Å².
    :param b: the same shape.
    :param distances: see :func:`pair_distances`.
    """
    difference = b - a
    order = np.argsort(distances, axis=None)
    sorted_distances = distances.ravel()[order]
    shells = []
    for pairs in np.split(order, np.flatnonzero(np.diff(sorted_distances) > SHELL_GAP) + 1):
        wrong, right = difference.reshape(-1, 9)[pairs], a.reshape(-1, 9)[pairs]
        shells.append(
            Shell(
                float(distances.ravel()[pairs].mean()),
                len(pairs),
                float(np.abs(wrong).mean()),
                float(np.sqrt(np.mean(right**2))),
            )
        )
    return ForceConstantErrors(
        float(np.linalg.norm(difference) / np.linalg.norm(a)), float(np.abs(difference).max()), shells
    )
