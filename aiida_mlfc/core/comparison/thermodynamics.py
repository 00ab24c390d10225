"""Harmonic thermodynamics from frequencies and weights, per mole of primitive cells; imaginary modes are left out.

Phonopy's definitions; its own class wants a mesh of its own for each side, and both sides have to have the same one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from phonopy.phonon.thermal_properties import mode_cv
from phonopy.physical_units import get_physical_units

#: K, where errors are quoted (Loew et al., npj Comput. Mater. 11, 178 (2025))
REFERENCE_TEMPERATURE = 300.0
#: K, for curves
TEMPERATURES = np.arange(0.0, 1001.0, 20.0)
_UNITS = get_physical_units()


@dataclass(frozen=True)
class Thermodynamics:
    """Of one side.

    :param temperatures: shape ``(n,)``, K.
    :param free_energy: shape ``(n,)``, kJ/mol.
    :param entropy: shape ``(n,)``, J/K/mol.
    :param heat_capacity: at constant volume, shape ``(n,)``, J/K/mol.
    """

    temperatures: np.ndarray
    free_energy: np.ndarray
    entropy: np.ndarray
    heat_capacity: np.ndarray


def thermodynamics(frequencies: np.ndarray, weights: np.ndarray, temperatures: np.ndarray) -> Thermodynamics:
    """Sums over modes with positive frequency.

    :param frequencies: shape ``(n_qpoints, n_bands)``, THz.
    :param weights: shape ``(n_qpoints,)``.
    :param temperatures: shape ``(n,)``, K.
    """
    share = np.repeat(weights[:, None] / weights.sum(), frequencies.shape[1], axis=1)
    real = frequencies > 0
    energies, share = frequencies[real] * _UNITS.THzToEv, share[real]
    free, entropy, heat = np.zeros(len(temperatures)), np.zeros(len(temperatures)), np.zeros(len(temperatures))
    zero_point = float((share * energies).sum() / 2)
    for k, temperature in enumerate(temperatures):
        free[k] = zero_point
        if temperature == 0:
            continue
        thermal = _UNITS.KB * temperature
        x = energies / thermal
        logarithm = np.log1p(-np.exp(-x))
        free[k] += thermal * (share * logarithm).sum()
        # beyond x = 500 a mode is frozen, and exp(x) soon no number
        warm = x < 500
        entropy[k] = _UNITS.KB * (share[warm] * (x[warm] / np.expm1(x[warm]) - logarithm[warm])).sum()
        heat[k] = (share[warm] * mode_cv(temperature, energies[warm])).sum()
    per_mole = _UNITS.EvTokJmol
    return Thermodynamics(temperatures, free * per_mole, entropy * per_mole * 1000, heat * per_mole * 1000)
