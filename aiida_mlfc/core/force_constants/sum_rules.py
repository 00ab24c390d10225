"""What exact force constants obey: the acoustic sum rule and permutation symmetry. Measured, never imposed."""

from __future__ import annotations

import numpy as np
from phonopy.harmonic.force_constants import compact_fc_to_full_fc
from phonopy.structure.cells import Primitive


def acoustic_sum_residual(compact: np.ndarray) -> float:
    """max over i, α, β of |Σ_j Φ_ij,αβ|, eV/Å².

    :param compact: shape ``(n_prim, n_super, 3, 3)``, eV/Å².
    """
    return float(np.abs(compact.sum(axis=1)).max())


def permutation_asymmetry(compact: np.ndarray, primitive: Primitive) -> float:
    """max |Φ_ij,αβ - Φ_ji,βα|, eV/Å².

    :param compact: shape ``(n_prim, n_super, 3, 3)``, eV/Å².
    :param primitive: phonopy's primitive cell, which knows the translations of the supercell.
    """
    full = compact_fc_to_full_fc(primitive, np.array(compact, order='C'))
    return float(np.abs(full - full.transpose(1, 0, 3, 2)).max())
