"""Force constants of a supercell from the dynamical matrices at its commensurate q-points, by phonopy's transformation.

The force constants of a periodic supercell are sums over its images, and so is the transform of exact matrices: both
ways lead to the same numbers, to rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from phonopy.harmonic.dynmat_to_fc import DynmatToForceConstants

from aiida_mlfc.core.force_constants.irreducible import Setup, finished
from aiida_mlfc.core.force_constants.record import ForceConstants


def commensurate_qpoints(setup: Setup) -> np.ndarray:
    """Wave vectors that fit into the supercell, reduced coordinates of the primitive cell, shape ``(n_q, 3)``."""
    return np.array(DynmatToForceConstants(setup.phonon.primitive, setup.phonon.supercell).commensurate_points)


def from_dynamical_matrices(
    setup: Setup,
    matrices: np.ndarray,
    forces_at_rest: np.ndarray,
    n_directions: int,
    measured: dict[str, Any],
    nac_params: dict[str, Any] | None = None,
) -> ForceConstants:
    """Compact force constants; nothing is symmetrised.

    :param matrices: D(q) in phonopy's convention at :func:`commensurate_qpoints`, in their order, shape
        ``(n_q, 3 n_prim, 3 n_prim)``, eV/Å²/amu.
    :param forces_at_rest: shape ``(n_prim, 3)``, eV/Å.
    :param n_directions: products that were computed.
    :param measured: method, dtype, seconds, peak_memory for the quality record.
    :raises ValueError: if the shape does not fit the setup, or a number is not finite.
    """
    transform = DynmatToForceConstants(setup.phonon.primitive, setup.phonon.supercell, is_full_fc=False)
    n_coordinates = 3 * len(setup.phonon.primitive)
    expected = (len(transform.commensurate_points), n_coordinates, n_coordinates)
    if matrices.shape != expected:
        raise ValueError(
            f'matrices: got shape {matrices.shape}, wanted {expected} (q-points, coordinates, coordinates)'
        )
    if not (np.isfinite(matrices).all() and np.isfinite(forces_at_rest).all()):
        raise ValueError('the potential returned derivatives that are not finite numbers')
    transform.dynamical_matrices = matrices
    transform.run()
    return finished(setup, np.array(transform.force_constants), forces_at_rest, n_directions, measured, nac_params)
