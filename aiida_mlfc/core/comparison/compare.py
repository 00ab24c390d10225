"""Two sets of force constants of one crystal to errors: ``compare(a, b)``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from phonopy.physical_units import get_physical_units

from aiida_mlfc.core.comparison.alignment import Aligned, Canonical, align
from aiida_mlfc.core.comparison.metrics import (
    ForceConstantErrors,
    force_constant_errors,
    frequency_errors,
    pair_distances,
)
from aiida_mlfc.core.comparison.nac import NacPolicy, same_nac
from aiida_mlfc.core.comparison.record import Comparison, Geometry, Side
from aiida_mlfc.core.comparison.sampling import MESH_LENGTH, POINTS_PER_SEGMENT, Sampled, Sampling, sample
from aiida_mlfc.core.comparison.thermodynamics import (
    REFERENCE_TEMPERATURE,
    TEMPERATURES,
    Thermodynamics,
    thermodynamics,
)
from aiida_mlfc.core.force_constants.record import ForceConstants
from aiida_mlfc.core.phonons.record import Bands
from aiida_mlfc.core.phonons.stability import COMMUNITY_THRESHOLDS, noise_floor, stability
from aiida_mlfc.core.structures.formula import reduced_formula
from aiida_mlfc.core.structures.symmetry import spacegroup

_UNITS = get_physical_units()
#: h/k_B: an ordinary frequency in THz as a temperature in K
KELVIN_PER_THZ = _UNITS.THzToEv / _UNITS.KB
#: thresholds for a mode to count as imaginary that are in use elsewhere, THz, beside those of screens: PhononBench
#: (arXiv:2512.21227), matcalc, torch-sim's example, and the -50 K of Loew et al.
THRESHOLDS = {
    **COMMUNITY_THRESHOLDS,
    'phononbench_0.001THz': -0.001,
    'matcalc_0.01THz': -0.01,
    'phononbench_0.1THz': -0.1,
    'loew_50K': -50.0 / KELVIN_PER_THZ,
}
#: Å, relative; below these two geometries are one
SAME_GEOMETRY = 1e-3


@dataclass(frozen=True)
class Compared:
    """A comparison with the curves behind it, for figures.

    :param distances: of pairs, shape ``(n_prim, n_super)``, Å.
    :param thermal_a: curves over temperature.
    """

    summary: Comparison
    aligned: Aligned
    sampling: Sampling
    distances: np.ndarray
    thermal_a: Thermodynamics
    thermal_b: Thermodynamics


def compare(
    a: ForceConstants | Canonical,
    b: ForceConstants | Canonical,
    name: str = '',
    nac: NacPolicy = 'both',
    mesh_length: float = MESH_LENGTH,
    points_per_segment: int = POINTS_PER_SEGMENT,
) -> Compared:
    """Errors of b against a, on one cell, order of atoms, symmetrisation and non-analytical term.

    :param a: the reference.
    :param b: what is compared with it; the same crystal in any orientation, order of atoms or choice of vectors.
    :param nac: ``both`` as given (refused where one side has Born charges and the other none), ``shared`` or ``off``.
    :param mesh_length: Å, density of the common mesh.
    :raises ComparisonError: if they are not the same crystal, or only one has Born charges.
    """
    aligned, used = same_nac(align(a, b), nac)
    sampling = sample(aligned, mesh_length, points_per_segment)
    one, other = aligned.a.force_constants, aligned.b.force_constants
    distances = pair_distances(one.to_phonopy())
    errors: ForceConstantErrors | None = None
    reason = None
    if aligned.same_supercell:
        errors = force_constant_errors(one.array, other.array, distances)
    else:
        reason = (
            f'supercells of {len(one.to_phonopy().supercell)} and {len(other.to_phonopy().supercell)} atoms are not '
            'the same: their force constants are sums over different images'
        )
    frequencies = (sampling.mesh.a, sampling.mesh.b)
    thermal = [thermodynamics(f, sampling.mesh.weights, _temperatures()) for f in frequencies]
    sides = [
        _side(canonical, f, exact, bands, sampling, values)
        for canonical, f, exact, bands, values in zip(
            (aligned.a, aligned.b),
            frequencies,
            (sampling.commensurate.a, sampling.commensurate.b),
            (sampling.bands_a, sampling.bands_b),
            thermal,
            strict=True,
        )
    ]
    difference = sides[1].max_frequency - sides[0].max_frequency
    match = aligned.match
    summary = Comparison(
        name=name,
        formula=reduced_formula(one.unitcell),
        spacegroup=spacegroup(one.unitcell, one.symprec),
        n_atoms=len(one.unitcell),
        supercell_matrix=one.supercell_matrix.tolist(),
        mesh_numbers=sampling.mesh_numbers,
        geometry=Geometry(match.strain, match.volume_change, match.max_displacement),
        nac=used,
        a=sides[0],
        b=sides[1],
        force_constants=errors,
        no_force_constants=reason,
        mesh=frequency_errors(sampling.mesh),
        commensurate=frequency_errors(sampling.commensurate),
        path=frequency_errors(_of_path(sampling)),
        max_frequency_error=difference,
        max_frequency_error_kelvin=difference * KELVIN_PER_THZ,
        free_energy_error=sides[1].free_energy - sides[0].free_energy,
        entropy_error=sides[1].entropy - sides[0].entropy,
        heat_capacity_error=sides[1].heat_capacity - sides[0].heat_capacity,
        warnings=_warnings(sides, match.strain, match.max_displacement, reason),
    )
    return Compared(summary, aligned, sampling, distances, thermal[0], thermal[1])


def _temperatures() -> np.ndarray:
    return np.unique(np.append(TEMPERATURES, REFERENCE_TEMPERATURE))


def _of_path(sampling: Sampling) -> Sampled:
    bands_a, bands_b = sampling.bands_a, sampling.bands_b
    return Sampled(bands_a.qpoints, np.ones(len(bands_a.qpoints)), bands_a.frequencies, bands_b.frequencies)


def _side(
    canonical: Canonical,
    mesh: np.ndarray,
    commensurate: np.ndarray,
    bands: Bands,
    sampling: Sampling,
    thermal: Thermodynamics,
) -> Side:
    force_constants = canonical.force_constants
    # Symmetrised: what is left of noise in zero modes is rounding.
    noise = noise_floor(
        float(np.abs(force_constants.array).max()),
        float(force_constants.to_phonopy().primitive.masses.min()),
        0.0,
        force_constants.quality.dtype,
    )
    found = stability(mesh, sampling.mesh.qpoints, sampling.mesh.weights, bands.frequencies, bands.qpoints, noise)
    share = sampling.mesh.weights[:, None] / sampling.mesh.weights.sum() / mesh.shape[1]
    at = int(np.flatnonzero(thermal.temperatures == REFERENCE_TEMPERATURE)[0])
    return Side(
        method=force_constants.quality.method,
        projection_change=canonical.projection_change,
        min_frequency=found.min_frequency,
        max_frequency=float(commensurate.max()),
        imaginary_share=float((share * (mesh < -noise)).sum()),
        free_energy=float(thermal.free_energy[at]),
        entropy=float(thermal.entropy[at]),
        heat_capacity=float(thermal.heat_capacity[at]),
        verdicts={
            threshold: 'unstable' if found.min_frequency < value - noise else 'stable'
            for threshold, value in THRESHOLDS.items()
        },
    )


def _warnings(sides: list[Side], strain: float, displacement: float, reason: str | None) -> list[str]:
    found = [] if reason is None else [reason]
    for label, side in zip(('first', 'second'), sides, strict=True):
        if side.imaginary_share > 0:
            found.append(
                f'{100 * side.imaginary_share:.3g} % of the modes of the {label} are imaginary and left out of thermal '
                'properties'
            )
    if strain > SAME_GEOMETRY or displacement > SAME_GEOMETRY:
        found.append(
            f'geometries differ: strain {100 * strain:.2g} %, displacements up to {displacement:.2g} Å; frequencies '
            'are compared at equal reduced wave vectors'
        )
    return found
