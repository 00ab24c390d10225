"""Stability as a curve: how many modes lie below a threshold, for every threshold."""

from __future__ import annotations

import numpy as np

from aiida_mlfc.core.phonons.record import Stability
from aiida_mlfc.core.units import FREQUENCY_FACTOR_THZ

#: thresholds below which a mode counts as imaginary, THz: exact zero; the Materials Project phonon workflow
#: (npj Comput. Mater. 2018, 5 cm^-1); Loew et al., npj Comput. Mater. 11, 178 (2025), and MatterSim's PhononWorkflow.
COMMUNITY_THRESHOLDS = {'zero': 0.0, 'strict_0.05THz': -0.05, 'mp_5cm-1': -0.15, 'mattersim_0.3THz': -0.299}
#: the curve
THRESHOLDS = np.concatenate((np.linspace(-3.0, -0.5, 26), np.linspace(-0.48, 0.0, 25)))
#: relative rounding error of a dynamical matrix, by the dtype of the force constants
ROUNDING = {'float64': 1e-14, 'float32': 1e-6}


def noise_floor(largest_force_constant: float, lightest_mass: float, sum_residual: float, dtype: str) -> float:
    """Frequency that numerical noise alone can produce, THz.

    An error δ (eV/Å²) in the dynamical matrix shifts a zero mode to sqrt(δ/m): the larger of rounding and of the measured
    violation of the acoustic sum rule stands for δ.

    :param largest_force_constant: eV/Å².
    :param lightest_mass: amu.
    :param sum_residual: acoustic sum residual before any correction, eV/Å².
    """
    error = max(sum_residual, largest_force_constant * ROUNDING[dtype])
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
    verdicts = {name: 'unstable' if lowest < threshold - noise else 'stable'
                for name, threshold in COMMUNITY_THRESHOLDS.items()}
    return Stability(
        min_frequency=lowest,
        min_frequency_qpoint=tuple(float(x) for x in qpoints[row]),
        max_frequency=float(frequencies.max()),
        noise_floor=noise,
        thresholds=THRESHOLDS,
        unstable_fraction=np.array(fraction),
        verdicts=verdicts,
    )
