"""What is left of the modes at Γ without uniform translations, also where force constants break the sum rule."""

from __future__ import annotations

import numpy as np
from phonopy import Phonopy

from aiida_mlfc.core.units import FREQUENCY_FACTOR_THZ


def optical_at_gamma(phonon: Phonopy) -> np.ndarray:
    """Frequencies of the modes at Γ that are orthogonal to the three uniform translations.

    By their size alone translations are not to be told from a soft mode: a broken sum rule moves them away from zero.
    With Born charges those without the macroscopic field, which only hardens modes: no direction has a lower one.

    :return: ascending, imaginary ones negative, shape ``(n_bands - 3,)``, THz.
    """
    masses = phonon.primitive.masses
    phonon.run_qpoints([[0.0, 0.0, 0.0]], with_dynamical_matrices=True)
    uniform = np.kron(np.sqrt(masses / masses.sum())[:, None], np.eye(3))
    others = np.linalg.svd(uniform)[0][:, 3:]
    values = np.linalg.eigvalsh(others.T @ phonon.qpoints.dynamical_matrices[0] @ others)
    return np.sign(values) * np.sqrt(np.abs(values)) * FREQUENCY_FACTOR_THZ
