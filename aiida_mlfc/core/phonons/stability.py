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
    :param residual: the larger of acoustic sum residual and permutation asymmetry of the force constants that the
        frequencies are from, eV/Å²: symmetrised ones have none, whatever those that they were made of had.
    :raises ValueError: if there is no such frequency.
    """
    if not (np.isfinite((largest_force_constant, lightest_mass, residual)).all() and lightest_mass > 0):
        raise ValueError(
            f'noise floor: got a largest force constant of {largest_force_constant} eV/Å², a lightest mass of '
            f'{lightest_mass} and a residual of {residual} eV/Å², wanted finite numbers and a mass above zero'
        )
    error = NOISE_SAFETY * max(residual, largest_force_constant * ROUNDING[dtype])
    return float(np.sqrt(error / lightest_mass) * FREQUENCY_FACTOR_THZ)


def without_translations(frequencies: np.ndarray, qpoints: np.ndarray, optical: np.ndarray | None = None) -> np.ndarray:
    """The three modes at Γ that are zero by translation made infinite, so that no threshold sees them.

    :param frequencies: shape ``(n_qpoints, n_bands)``, THz.
    :param optical: see :func:`stability`.
    """
    kept = frequencies.copy()
    for k in np.flatnonzero(np.abs(qpoints - np.rint(qpoints)).max(axis=1) < 1e-8):
        if optical is None:
            kept[k, np.argsort(np.abs(kept[k]))[:3]] = np.inf
        else:
            kept[k] = np.append(np.full(3, np.inf), optical)
    return kept


def stability(
    mesh_frequencies: np.ndarray,
    mesh_qpoints: np.ndarray,
    mesh_weights: np.ndarray,
    path_frequencies: np.ndarray,
    path_qpoints: np.ndarray,
    noise: float,
    optical: np.ndarray | None = None,
) -> Stability:
    """The curve, the extremes and the verdicts.

    :param mesh_frequencies: shape ``(n_mesh, n_bands)``, THz.
    :param mesh_weights: multiplicity of each q of the mesh, shape ``(n_mesh,)``.
    :param path_frequencies: shape ``(n_path, n_bands)``, THz; the path may cross minima that the mesh misses.
    :param noise: see :func:`noise_floor`, THz.
    :param optical: frequencies at Γ without the translations, shape ``(n_bands - 3,)``, THz, see
        :func:`~aiida_mlfc.core.phonons.translations.optical_at_gamma`; None takes the three of smallest size for
        translations, which is right where the sum rule holds.
    :raises ValueError: if a frequency is not a finite number: NaN is below no threshold, and nothing is stable by that.
    """
    frequencies = np.concatenate((mesh_frequencies, path_frequencies))
    if not np.isfinite(frequencies).all() or not np.isfinite(noise):
        raise ValueError(
            'stability: got frequencies that are not finite numbers: are force constants, masses, cell and Born '
            'charges those of one crystal?'
        )
    qpoints = np.concatenate((mesh_qpoints, path_qpoints))
    weights = np.repeat(mesh_weights[:, None].astype(float), mesh_frequencies.shape[1], axis=1)
    looked_at = without_translations(frequencies, qpoints, optical)
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
