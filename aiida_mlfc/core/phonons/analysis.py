"""From force constants to phonons, all by phonopy: bands on seekpath's path, DOS, thermal properties, stability."""

from __future__ import annotations

import warnings

import numpy as np
import seekpath
import spglib
from phonopy import Phonopy
from phonopy.phonon.band_structure import get_band_qpoints
from phonopy.phonon.spectrum import TetrahedronDOSAccumulator

from aiida_mlfc.core.force_constants.record import ForceConstants
from aiida_mlfc.core.force_constants.sum_rules import acoustic_sum_residual, permutation_asymmetry
from aiida_mlfc.core.phonons.record import Bands, DensityOfStates, Phonons, ThermalProperties
from aiida_mlfc.core.phonons.stability import noise_floor, stability, without_translations
from aiida_mlfc.core.phonons.translations import optical_at_gamma

#: Γ-centred mesh density: a length L gives round(L |b*|) points along a reciprocal vector b* (phonopy's ``mesh``)
MESH_LENGTH = 60.0
#: q-points on each segment of the path
POINTS_PER_SEGMENT = 41
#: frequencies at which the DOS is computed, and how far they reach beyond the lowest and the highest (phonopy's)
DOS_POINTS, DOS_MARGIN = 201, 0.1
#: K
TEMPERATURES = np.arange(0.0, 1001.0, 10.0)
#: above this acoustic sum residual (eV/Å²) the noise is worth a warning
SUM_RESIDUAL_LIMIT = 1e-6


def seekpath_path(phonon: Phonopy, symprec: float) -> tuple[list[list[np.ndarray]], list[tuple[str, str]]]:
    """High-symmetry segments of the crystal as it stands, in reduced coordinates of phonopy's primitive cell.

    seekpath names points in its own standardised cell; the rotation into it, which spglib found on the way, gives them
    in ours, also where the primitive vectors differ (https://doi.org/10.1016/j.commatsci.2016.10.015). seekpath 2 has
    ``get_path_orig_cell`` for this; seekpath 1.9, which aiida-quantumespresso asks for, has not.

    :return: segments as pairs of q-points, and their pairs of labels.
    """
    primitive = phonon.primitive
    cell = (primitive.cell, primitive.scaled_positions, primitive.numbers)
    with warnings.catch_warnings():
        # of seekpath 1.9 about spglib, which shows it to everybody
        warnings.filterwarnings('ignore', 'dict interface is deprecated', DeprecationWarning)
        found = seekpath.get_path(cell, symprec=symprec)
    # rows: reciprocal vectors of seekpath's cell, turned back into our Cartesian axes, in units of 2π
    turned = found['reciprocal_primitive_lattice'] @ spglib.get_symmetry_dataset(cell, symprec).std_rotation_matrix
    to_ours = turned @ primitive.cell.T / (2 * np.pi)
    found['point_coords'] = {name: point @ to_ours for name, point in found['point_coords'].items()}
    names = {name: 'Γ' if name == 'GAMMA' else name for name in found['point_coords']}
    segments = [[np.array(found['point_coords'][a]), np.array(found['point_coords'][b])] for a, b in found['path']]
    return segments, [(names[a], names[b]) for a, b in found['path']]


def band_structure(phonon: Phonopy, symprec: float, points: int = POINTS_PER_SEGMENT) -> Bands:
    """Frequencies along seekpath's path, THz."""
    segments, labels = seekpath_path(phonon, symprec)
    paths = get_band_qpoints([np.array(s) for s in segments], npoints=points)
    phonon.run_band_structure(paths)
    found = phonon.band_structure
    stops = np.cumsum([len(p) for p in found.qpoints])
    return Bands(
        qpoints=np.concatenate(found.qpoints),
        distances=np.concatenate(found.distances),
        frequencies=np.concatenate(found.frequencies),
        segments=np.stack((np.concatenate(([0], stops[:-1])), stops), axis=1),
        labels=labels,
    )


def _first_direction_from_gamma(bands: Bands) -> np.ndarray:
    """The first segment that touches Γ, as a direction in reduced coordinates."""
    first, stop = next(s for s, names in zip(bands.segments, bands.labels, strict=True) if 'Γ' in names)
    return bands.qpoints[stop - 1] - bands.qpoints[first]


def _density_of_states(phonon: Phonopy) -> DensityOfStates:
    """Tetrahedron DOS in total and by element, on the mesh that was run last, with eigenvectors.

    The share of an element in a mode, summed over its atoms, is the same at all arms of a star, so that the irreducible
    q-points suffice; phonopy's own projection, on single atoms, needs all of them. Degenerate modes have equal weights,
    so that it does not matter which of them the eigenvectors are.
    """
    mesh, symbols = phonon.mesh, phonon.primitive.symbols
    elements = list(dict.fromkeys(symbols))
    lowest, highest = float(mesh.frequencies.min()), float(mesh.frequencies.max())
    margin = DOS_MARGIN * (highest - lowest)
    # |e|² summed over directions and the atoms of each element, shape (n_q, n_modes, n_elements)
    of_atoms = (np.abs(mesh.eigenvectors) ** 2).reshape(len(mesh.qpoints), len(symbols), 3, -1).sum(axis=2)
    shares = [of_atoms[:, [s == element for s in symbols]].sum(axis=1) for element in elements]
    result = TetrahedronDOSAccumulator(
        mesh.frequencies,
        mesh.bz_grid,
        mode_property=np.stack(shares, axis=-1)[None],
        ir_grid_points=mesh.ir_grid_points,
        ir_grid_weights=mesh.weights,
        ir_grid_map=mesh.grid_mapping_table,
        sampling_points=np.linspace(lowest - margin, highest + margin, DOS_POINTS),
    ).result
    by_element = result.density[0].T
    numbers = (int(mesh.mesh_numbers[0]), int(mesh.mesh_numbers[1]), int(mesh.mesh_numbers[2]))
    return DensityOfStates(np.array(result.sampling_points), by_element.sum(axis=0), by_element, elements, numbers)


def _check(phonon: Phonopy, array: np.ndarray) -> None:
    """Refuse what would go through all that follows as a number, or as a comparison that is false."""
    primitive, supercell = phonon.primitive, phonon.supercell
    wanted = (len(primitive), len(supercell), 3, 3)
    if array.shape != wanted:
        raise ValueError(f'force constants: got shape {array.shape}, wanted {wanted}, compact, for these cells')
    if not np.isfinite(array).all():
        raise ValueError(
            f'force constants: got {np.count_nonzero(~np.isfinite(array))} of {array.size} numbers that are not '
            'finite, wanted none: compute them again, or look at the file they are from'
        )
    if phonon.nac_params is not None and np.linalg.det(primitive.cell) < 0:
        # what phonopy adds for Born charges comes out complex there, and it goes on
        raise ValueError(
            'the primitive cell is left-handed, which Born charges do not allow: turn the three lattice vectors round '
            'and compute the force constants again'
        )
    # phonopy's stars of q-points are those of the elements alone
    equivalent = phonon.primitive_symmetry.get_map_atoms()
    if not np.allclose(primitive.masses, primitive.masses[equivalent], rtol=1e-6):
        raise ValueError(
            f'atoms that symmetry maps onto each other have the masses {primitive.masses.tolist()}, wanted one mass '
            'for each kind of site: isotopes that lower the symmetry are not supported'
        )


def analyse(
    force_constants: ForceConstants,
    mesh_length: float = MESH_LENGTH,
    temperatures: np.ndarray = TEMPERATURES,
    points_per_segment: int = POINTS_PER_SEGMENT,
) -> Phonons:
    """Bands, DOS, thermal properties and stability of one crystal.

    :param force_constants: used as they are, without symmetrisation; Born charges in them switch NAC on.
    :param mesh_length: Å, see ``MESH_LENGTH``.
    :param temperatures: K, shape ``(n,)``.
    :raises ValueError: if the force constants are not finite or of another shape than their cells say, or atoms that
        symmetry maps onto each other differ in mass.
    """
    phonon = force_constants.for_frequencies()
    _check(phonon, force_constants.array)
    symprec = force_constants.symprec
    bands = band_structure(phonon, symprec, points_per_segment)
    phonon.run_mesh(mesh_length, is_gamma_center=True, with_eigenvectors=True)
    mesh = phonon.mesh
    # The three acoustic modes at Γ are rounding noise around zero: their logarithm must not enter the free energy.
    phonon.run_thermal_properties(temperatures=temperatures, exclude_gamma_acoustic=True)
    thermal = phonon.thermal_properties
    quality = force_constants.quality
    # Of this array, not the one in the quality record: that is of what was computed, before it was symmetrised.
    residual = max(
        acoustic_sum_residual(force_constants.array), permutation_asymmetry(force_constants.array, phonon.primitive)
    )
    scale = float(np.abs(force_constants.array).max()), float(phonon.primitive.masses.min())
    noise, rounding = (noise_floor(*scale, error, quality.dtype) for error in (residual, 0.0))
    optical = optical_at_gamma(phonon)
    verdict = stability(mesh.frequencies, mesh.qpoints, mesh.weights, bands.frequencies, bands.qpoints, noise, optical)
    properties = ThermalProperties(
        temperatures=np.array(thermal.temperatures),
        free_energy=np.array(thermal.free_energy),
        entropy=np.array(thermal.entropy),
        heat_capacity=np.array(thermal.heat_capacity),
        zero_point_energy=float(thermal.zero_point_energy),
    )
    # With Born charges Γ has no frequencies of its own, only limits: the one along the path splits LO from TO.
    direction = None if force_constants.nac_params is None else _first_direction_from_gamma(bands)
    phonon.run_qpoints([[0.0, 0.0, 0.0]], nac_q_direction=direction)
    gamma = np.array(phonon.qpoints.frequencies[0])
    warnings = []
    # Whatever is imaginary is left out, be it noise or not.
    if without_translations(mesh.frequencies, mesh.qpoints, optical).min() < -rounding:
        warnings.append('imaginary modes are left out of thermal properties')
    error = quality.truncation_error
    if error is not None and verdict.min_frequency < -noise and -verdict.min_frequency < error:
        warnings.append(
            f'the lowest mode, {verdict.min_frequency:.2f} THz, lies within the truncation error of the supercell, '
            f'{error:.2f} THz: it may be an artefact, use a larger supercell'
        )
    spread = quality.uncertainty
    if spread is not None and verdict.min_frequency < -noise and -verdict.min_frequency < spread:
        warnings.append(
            f'the lowest mode, {verdict.min_frequency:.2f} THz, lies within the uncertainty of the potential, '
            f'{spread:.2f} THz: this potential cannot say whether the crystal is stable'
        )
    if quality.acoustic_sum_residual > SUM_RESIDUAL_LIMIT:
        warnings.append(f'acoustic sum residual {quality.acoustic_sum_residual:.1e} eV/Å²')
    return Phonons(
        bands=bands,
        dos=_density_of_states(phonon),
        thermal=properties,
        stability=verdict,
        gamma_frequencies=gamma,
        with_nac=force_constants.nac_params is not None,
        warnings=warnings,
    )
