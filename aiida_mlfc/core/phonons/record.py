"""Phonons of one crystal: bands, density of states, thermal properties, stability, as plain arrays.

Thermal properties are per mole of primitive cells, as phonopy gives them. Imaginary frequencies are negative numbers.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Bands:
    """Frequencies along a path of straight segments.

    :param qpoints: shape ``(n_qpoints, 3)``, reduced coordinates of the primitive cell.
    :param distances: path length at each q, shape ``(n_qpoints,)``, 1/Å, without 2π.
    :param frequencies: shape ``(n_qpoints, n_bands)``, THz.
    :param segments: first and one-past-last q of each segment, shape ``(n_segments, 2)``.
    :param labels: name of the first and last q of each segment, in pairs; ``Γ`` for the centre.
    """

    qpoints: np.ndarray
    distances: np.ndarray
    frequencies: np.ndarray
    segments: np.ndarray
    labels: list[tuple[str, str]]


@dataclass(frozen=True)
class DensityOfStates:
    """Total density of states and its projection on the elements.

    :param frequency_points: shape ``(n_points,)``, THz.
    :param total_dos: shape ``(n_points,)``, states per THz and primitive cell.
    :param projected_dos: shape ``(n_elements, n_points)``, same unit, summed over the atoms of an element.
    :param symbols: the elements, in the order of ``projected_dos``.
    :param mesh: q-points along each reciprocal vector.
    """

    frequency_points: np.ndarray
    total_dos: np.ndarray
    projected_dos: np.ndarray
    symbols: list[str]
    mesh: tuple[int, int, int]


@dataclass(frozen=True)
class ThermalProperties:
    """Harmonic thermodynamics, per mole of primitive cells; imaginary modes are left out of the sums.

    :param temperatures: shape ``(n,)``, K.
    :param free_energy: shape ``(n,)``, kJ/mol.
    :param entropy: shape ``(n,)``, J/K/mol.
    :param heat_capacity: at constant volume, shape ``(n,)``, J/K/mol.
    :param zero_point_energy: kJ/mol.
    """

    temperatures: np.ndarray
    free_energy: np.ndarray
    entropy: np.ndarray
    heat_capacity: np.ndarray
    zero_point_energy: float

    def at(self, temperature: float) -> dict[str, float]:
        """Interpolated values at a temperature in K."""
        return {
            name: float(np.interp(temperature, self.temperatures, getattr(self, name)))
            for name in ('free_energy', 'entropy', 'heat_capacity')
        }


@dataclass(frozen=True)
class Stability:
    """Dynamical stability as a curve, not a bit.

    :param min_frequency: lowest frequency on mesh and path, the three acoustic modes at Γ left out, THz.
    :param noise_floor: size of numerical noise on frequencies, THz: modes within it of zero mean nothing.
    :param thresholds: shape ``(n,)``, THz, negative to zero.
    :param unstable_fraction: share of mesh modes below each threshold, shape ``(n,)``.
    :param verdicts: ``stable`` or ``unstable`` at the thresholds that the community uses, by name.
    """

    min_frequency: float
    min_frequency_qpoint: tuple[float, float, float]
    max_frequency: float
    noise_floor: float
    thresholds: np.ndarray
    unstable_fraction: np.ndarray
    verdicts: dict[str, str]


@dataclass(frozen=True)
class Phonons:
    """Everything that is computed from one set of force constants.

    :param gamma_frequencies: at Γ, shape ``(n_bands,)``, THz; with Born charges the limit along the first segment of
        the path that touches Γ, so that LO and TO are split.
    """

    bands: Bands
    dos: DensityOfStates
    thermal: ThermalProperties
    stability: Stability
    gamma_frequencies: np.ndarray
    with_nac: bool
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values and arrays."""
        return asdict(self)
