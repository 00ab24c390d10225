"""Stability as a curve: how many modes lie below a threshold, for every threshold."""

from __future__ import annotations

import numpy as np

from aiida_mlfc.core.phonons.record import Stability
from aiida_mlfc.core.units import FREQUENCY_FACTOR_THZ

#: thresholds below which a mode counts as imaginary, THz: exact zero; a common screening choice; 5 cm^-1, the Materials
#: Project phonon workflow's (Petretto et al., Sci. Data 5, 180065 (2018)); MatterSim's PhononWorkflow's
COMMUNITY_THRESHOLDS = {'zero': 0.0, 'strict_0.05THz': -0.05, 'mp_5cm-1': -0.15, 'mattersim_0.3THz': -0.299}
#: the curve
THRESHOLDS = np.concatenate((np.linspace(-3.0, -0.5, 26), np.linspace(-0.48, 0.0, 25)))
#: errors add up over the atoms of a cell: the largest single one, times this, bounds what a mode sees
NOISE_SAFETY = 10.0
#: relative rounding error of a dynamical matrix, by the dtype of the force constants
ROUNDING = {'float64': 1e-14, 'float32': 1e-6}


def noise_floor(largest_force_constant: float, lightest_mass: float, residual: float, dtype: str) -> float:
    """Frequency that numerical noise alone can produce, THz.

    An error δ (eV/Å²) in the force constants shifts a zero mode to sqrt(δ/m); δ is the largest of rounding and of the
    measured violations of the acoustic sum rule and of permutation symmetry, times a safety factor.

    :param largest_force_constant: eV/Å².
    :param lightest_mass: amu.
    :param residual: the larger of acoustic sum residual and permutation asymmetry, before any correction, eV/Å².
    """
    error = NOISE_SAFETY * max(residual, largest_force_constant * ROUNDING[dtype])
    return float(np.sqrt(error / lightest_mass) * FREQUENCY_FACTOR_THZ)


def stability(
    mesh_frequencies: np.ndarray,
    mesh_qpoints: np.ndarray,
    mesh_weights: np.ndarray,
    path_frequencies: np.ndarray,
    path_qpoints: np.ndarray,
    noise: float,
) -> Stability:
    """The curve, the extremes and the verdicts.

    :param mesh_frequencies: shape ``(n_mesh, n_bands)``, THz.
    :param mesh_weights: multiplicity of each q of the mesh, shape ``(n_mesh,)``.
    :param path_frequencies: shape ``(n_path, n_bands)``, THz; the path may cross minima that the mesh misses.
    :param noise: see :func:`noise_floor`, THz.
    """
    frequencies = np.concatenate((mesh_frequencies, path_frequencies))
    qpoints = np.concatenate((mesh_qpoints, path_qpoints))
    weights = np.repeat(mesh_weights[:, None].astype(float), mesh_frequencies.shape[1], axis=1)
    looked_at = frequencies.copy()
    at_gamma = np.abs(qpoints - np.rint(qpoints)).max(axis=1) < 1e-8
    # The three acoustic modes at Γ are zero by translation: the ones of smallest size, whatever their sign.
    for k in np.flatnonzero(at_gamma):
        looked_at[k, np.argsort(np.abs(looked_at[k]))[:3]] = np.inf
    row, column = np.unravel_index(np.argmin(looked_at), looked_at.shape)
    lowest = float(looked_at[row, column])
    mesh_part = looked_at[: len(mesh_frequencies)]
    fraction = [(weights * (mesh_part < t)).sum() / weights.sum() for t in THRESHOLDS]
    verdicts = {
        name: 'unstable' if lowest < threshold - noise else 'stable' for name, threshold in COMMUNITY_THRESHOLDS.items()
    }
    return Stability(
        min_frequency=lowest,
        min_frequency_qpoint=(float(qpoints[row, 0]), float(qpoints[row, 1]), float(qpoints[row, 2])),
        max_frequency=float(frequencies.max()),
        noise_floor=noise,
        thresholds=THRESHOLDS,
        unstable_fraction=np.array(fraction),
        verdicts=verdicts,
    )
