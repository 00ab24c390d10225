"""From Φ(q) of Bloch fields to dynamical matrices as phonopy defines them."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from aiida_mlfc.core.units import FREQUENCY_FACTOR_THZ


def with_phonopy_phases(phi: np.ndarray, qpoints: np.ndarray, atoms: Atoms, masses: np.ndarray) -> np.ndarray:
    """D_iα,jβ(q) = (m_i m_j)^(-1/2) Φ_iα,jβ(q) exp(2πi q·(s_j - s_i)); as Hermitian as Φ is.

    :param phi: Σ_S Φ(i α 0; j β S) exp(2πi q·S), shape ``(n_q, 3 n_atoms, 3 n_atoms)``, eV/Å².
    :param qpoints: reduced coordinates, shape ``(n_q, 3)``.
    :param masses: amu, shape ``(n_atoms,)``.
    :return: same shape as ``phi``, complex, eV/Å²/amu.
    """
    # Not wrapped: the cells that S counts are those of the positions as they stand.
    phases = np.exp(2j * np.pi * qpoints @ atoms.get_scaled_positions(wrap=False).T) / np.sqrt(masses)
    phases = phases.repeat(3, axis=1)
    return phases.conj()[:, :, None] * phi * phases[:, None, :]


def hermitian_part(matrices: np.ndarray) -> np.ndarray:
    """Half the sum of matrices and their adjoints; it drops rounding, and what symmetry within ``symprec`` left."""
    return (matrices + matrices.conj().transpose(0, 2, 1)) / 2


def frequencies(matrices: np.ndarray) -> np.ndarray:
    """Phonon frequencies of dynamical matrices, ascending; imaginary ones as negative numbers.

    :param matrices: shape ``(n_q, 3 n_atoms, 3 n_atoms)``, eV/Å²/amu.
    :return: shape ``(n_q, 3 n_atoms)``, THz.
    """
    squares = np.linalg.eigvalsh(matrices)
    return np.sign(squares) * np.sqrt(np.abs(squares)) * FREQUENCY_FACTOR_THZ
