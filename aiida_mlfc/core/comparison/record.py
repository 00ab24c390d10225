"""What one comparison found: one crystal, two sets of force constants, b against a."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from aiida_mlfc.core.comparison.metrics import ForceConstantErrors, FrequencyErrors
from aiida_mlfc.core.comparison.nac import NacUsed

#: keys of a row, in the order in which they are written
ROW_KEYS = (
    'name',
    'relative_frobenius',
    'frequency_mae',
    'frequency_max_error',
    'max_frequency_error',
    'free_energy_error',
    'entropy_error',
    'heat_capacity_error',
    'stable_a',
    'stable_b',
    'nac',
    'status',
    'error',
)
#: THz; the threshold of ``stable_a`` and ``stable_b``, that of ml-peg (https://github.com/ddmms/ml-peg)
STABILITY_THRESHOLD = -0.05


@dataclass(frozen=True)
class Side:
    """One of the two, on the common mesh and path.

    :param method: of its quality record; ``unknown`` if another program computed it.
    :param projection_change: share of its force constants that symmetrisation took away.
    :param min_frequency: lowest on mesh and path without the acoustic modes at Γ, THz.
    :param max_frequency: highest at the wave vectors of a's supercell, THz (as Loew et al. have it).
    :param imaginary_share: of the modes on the mesh; they are left out of the thermal properties.
    :param free_energy: at 300 K, kJ per mole of primitive cells.
    :param entropy: at 300 K, J/K/mol.
    :param heat_capacity: at 300 K, J/K/mol.
    :param verdicts: ``stable`` or ``unstable`` by the name of a threshold.
    """

    method: str
    projection_change: float
    min_frequency: float
    max_frequency: float
    imaginary_share: float
    free_energy: float
    entropy: float
    heat_capacity: float
    verdicts: dict[str, str]


@dataclass(frozen=True)
class Geometry:
    """The lattices and sites of b against those of a.

    :param strain: largest principal strain.
    :param volume_change: relative.
    :param max_displacement: of an atom at equal reduced coordinates, Å.
    """

    strain: float
    volume_change: float
    max_displacement: float


@dataclass(frozen=True)
class Comparison:
    """Errors of b against a.

    :param n_atoms: of the primitive cell: thermal properties are per mole of these cells (phonopy's convention, that of
        Loew et al., npj Comput. Mater. 11, 178 (2025)).
    :param supercell_matrix: of a, on the primitive cell, phonopy's convention.
    :param nac: see :mod:`aiida_mlfc.core.comparison.nac`.
    :param force_constants: None where the supercells differ; ``no_force_constants`` then says so.
    :param mesh: over the common mesh.
    :param commensurate: at the wave vectors of a's supercell, where a is interpolated by nothing.
    :param path: along the band path, every point with the same weight.
    :param max_frequency_error: highest frequency at the wave vectors of a's supercell, b - a, THz.
    :param max_frequency_error_kelvin: the same as h ν / k_B, K.
    :param free_energy_error: at 300 K, b - a, kJ/mol.
    :param entropy_error: at 300 K, b - a, J/K/mol.
    :param heat_capacity_error: at 300 K, b - a, J/K/mol.
    """

    name: str
    formula: str
    spacegroup: str
    n_atoms: int
    supercell_matrix: list[list[int]]
    mesh_numbers: tuple[int, int, int]
    geometry: Geometry
    nac: NacUsed
    a: Side
    b: Side
    force_constants: ForceConstantErrors | None
    no_force_constants: str | None
    mesh: FrequencyErrors
    commensurate: FrequencyErrors
    path: FrequencyErrors
    max_frequency_error: float
    max_frequency_error_kelvin: float
    free_energy_error: float
    entropy_error: float
    heat_capacity_error: float
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain values without NaN, for JSON and for nodes."""
        return _plain(asdict(self))

    def row(self) -> dict[str, Any]:
        """One line of a table, keys of ``ROW_KEYS``; thermal errors and that of the maximum are b - a, signed."""
        values = (
            self.name,
            None if self.force_constants is None else self.force_constants.relative_frobenius,
            self.mesh.mae,
            self.mesh.max,
            self.max_frequency_error_kelvin,
            self.free_energy_error,
            self.entropy_error,
            self.heat_capacity_error,
            self.a.min_frequency >= STABILITY_THRESHOLD,
            self.b.min_frequency >= STABILITY_THRESHOLD,
            self.nac,
            'ok',
            None,
        )
        return _plain(dict(zip(ROW_KEYS, values, strict=True)))


def refused_row(name: str, error: str) -> dict[str, Any]:
    """The line of a pair that could not be compared."""
    return {**dict.fromkeys(ROW_KEYS), 'name': name, 'status': 'error', 'error': error}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
