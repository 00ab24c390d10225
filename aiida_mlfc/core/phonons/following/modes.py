"""Imaginary modes of exact dynamical matrices: sets of degenerate ones, without the translations at Γ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from aiida_mlfc.core.structures.operations import operations_of
from aiida_mlfc.core.structures.sublattices import commensurate_qpoints, irreducible_qpoints
from aiida_mlfc.core.units import FREQUENCY_FACTOR_THZ

#: THz; modes above minus this one count as stable: a common screening choice
THRESHOLD = 0.05
#: squared frequencies nearer than this, relative and absolute (eV/Å²/amu), are one degenerate set
DEGENERATE = (1e-4, 1e-7)
#: reduced coordinates below which a wave vector is Γ
AT_GAMMA = 1e-9


@dataclass(frozen=True)
class ImaginaryMode:
    """Degenerate modes that lower the energy.

    :param qpoint: reduced coordinates of the primitive cell, shape ``(3,)``.
    :param frequency: THz, negative for imaginary.
    :param eigenvectors: orthonormal, in phonopy's convention (mass-weighted, phase at the atoms), one a row, shape
        ``(degeneracy, 3 n_atoms)``.
    """

    qpoint: np.ndarray
    frequency: float
    eigenvectors: np.ndarray

    @property
    def degeneracy(self) -> int:
        """Number of modes of this frequency at this wave vector."""
        return len(self.eigenvectors)


def searched_qpoints(atoms: Atoms, mesh: Sequence[int], symprec: float) -> np.ndarray:
    """One wave vector of each star that fits into a supercell of ``mesh`` cells, reduced coordinates, ``(n_q, 3)``.

    :param mesh: cells along each primitive vector; 2 2 2 holds Γ and zone boundaries half-way.
    """
    repeats = np.asarray(mesh)
    if repeats.shape != (3,) or not (repeats >= 1).all() or (repeats != np.rint(repeats)).any():
        raise ValueError(f'mesh: got {mesh!r}, wanted three positive integers')
    return irreducible_qpoints(commensurate_qpoints(np.diag(repeats)), operations_of(atoms, symprec).rotations)


def _modes(matrix: np.ndarray, qpoint: np.ndarray, masses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared frequencies and eigenvectors; at Γ those that are orthogonal to the three uniform translations.

    What a computed D(Γ) makes of translations is noise, no mode.
    """
    if np.abs(qpoint).max() >= AT_GAMMA:
        values, vectors = np.linalg.eigh(matrix)
        return values, vectors
    uniform = np.kron(np.sqrt(masses / masses.sum())[:, None], np.eye(3))
    others = np.linalg.svd(uniform)[0][:, 3:]
    values, vectors = np.linalg.eigh(others.T @ matrix @ others)
    return values, others @ vectors


def lowest_mode(matrices: np.ndarray, qpoints: np.ndarray, masses: np.ndarray) -> tuple[float, np.ndarray]:
    """The lowest frequency at any of the wave vectors, THz, and where it is; translations at Γ left out.

    :return: 0 at Γ if there is nothing but translations.
    """
    values = [_modes(d, q, masses)[0].min(initial=np.inf) for d, q in zip(matrices, qpoints, strict=True)]
    k = int(np.argmin(values))
    if not np.isfinite(values[k]):
        return 0.0, np.zeros(3)
    return float(np.sign(values[k]) * np.sqrt(abs(values[k])) * FREQUENCY_FACTOR_THZ), np.asarray(qpoints[k])


def imaginary_modes(
    matrices: np.ndarray, qpoints: np.ndarray, masses: np.ndarray, threshold: float = THRESHOLD
) -> list[ImaginaryMode]:
    """Every degenerate set below ``-threshold``, the most unstable first.

    :param matrices: of :func:`aiida_mlfc.dynamical_matrices`, shape ``(n_q, 3 n_atoms, 3 n_atoms)``, eV/Å²/amu.
    :param masses: amu, shape ``(n_atoms,)``.
    :param threshold: THz, positive.
    """
    if not 0 <= threshold < np.inf:
        raise ValueError(f'threshold: got {threshold}, wanted a frequency in THz above or at zero')
    limit = -((threshold / FREQUENCY_FACTOR_THZ) ** 2)
    found = []
    for matrix, q in zip(matrices, qpoints, strict=True):
        values, vectors = _modes(matrix, q, masses)
        sets: list[list[int]] = []
        for k in np.flatnonzero(values < min(limit, -DEGENERATE[1])):
            relative, absolute = DEGENERATE
            if sets and values[k] - values[sets[-1][-1]] <= relative * abs(values[k]) + absolute:
                sets[-1].append(int(k))
            else:
                sets.append([int(k)])
        for members in sets:
            frequency = -float(np.sqrt(-values[members].mean()) * FREQUENCY_FACTOR_THZ)
            found.append(ImaginaryMode(np.asarray(q, dtype=float), frequency, vectors[:, members].T))
    return sorted(found, key=lambda mode: mode.frequency)
