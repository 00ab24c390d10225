"""The steps from a crystal to its phonons, each by itself: relaxation, force constants, analysis."""

from __future__ import annotations

import io
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from phonopy.file_IO import write_force_constants_to_hdf5

from aiida_mlfc.core.force_constants.record import ForceConstants
from aiida_mlfc.core.phonons.analysis import analyse
from aiida_mlfc.core.phonons.record import Phonons
from aiida_mlfc.core.structures.checks import check_cell
from aiida_mlfc.core.structures.supercells import supercell_for_length
from aiida_mlfc.core.structures.symmetry import spacegroup, symmetrized
from aiida_mlfc.exchange.names import FORCE_CONSTANTS_FILE, PHONOPY_FILE
from aiida_mlfc.exchange.relaxation_rounds import MAX_ROUNDS, next_round
from aiida_mlfc.runner.options import ForceConstantsOptions, PhononOptions, RelaxOptions

#: atoms, where the matrix is given; ``max_atoms`` is for those that are found
LARGEST_SUPERCELL = 50_000


def relaxed(atoms: Atoms, options: RelaxOptions, model: Any, origin: Atoms | None = None) -> tuple[dict, Atoms]:
    """Relax one crystal.

    :param origin: where the first of several relaxations began: displacements count from there.
    :return: numbers of the result, and the relaxed crystal.
    """
    from aiida_mlfc.core.potentials.relaxation.relax import largest_displacement, relax
    from aiida_mlfc.core.potentials.validity import RELAXATION_MARGIN, check_displacement

    check_cell(atoms)
    found = relax(
        atoms,
        model,
        options.relax_cell,
        options.fmax,
        options.smax,
        options.steps,
        options.symprec,
        options.optimizer,
    )
    moved = found.max_displacement
    if origin is not None:
        moved = largest_displacement(origin, found.atoms)
        check_displacement(moved, model.metadata, 'an atom moved during all relaxations', RELAXATION_MARGIN)
    data = {
        'energy': found.energy,
        'max_force': found.max_force,
        'stress': found.stress,
        'n_steps': found.n_steps,
        'max_displacement': moved,
        'volume_change': found.volume_change,
        'spacegroup_before': found.spacegroup_before,
        'spacegroup_after': found.spacegroup_after,
        'optimiser': found.optimiser,
        'n_gradient_evaluations': found.n_gradient_evaluations,
        'n_hessian_products': found.n_hessian_products,
        'fallback': found.fallback,
    }
    return data, found.atoms


def relaxed_in_rounds(atoms: Atoms, options: RelaxOptions, model: Any) -> tuple[dict, Atoms]:
    """Relax one crystal; where it does not converge, go on from there as :func:`next_round` says.

    :raises NotConvergedError: of the last round.
    """
    from aiida_mlfc.core.potentials.relaxation.goal import NotConvergedError

    begun = atoms
    for number in range(1, MAX_ROUNDS + 2):
        try:
            data, found = relaxed(atoms, options, model, None if number == 1 else begun)
            return data | {'n_rounds': number}, found
        except NotConvergedError as error:
            if error.atoms is None or number > MAX_ROUNDS:
                raise
            atoms = error.atoms
            options = RelaxOptions(**next_round(asdict(options), number))
    raise AssertionError('unreachable: the last round returns or raises')


def force_constants_of(
    atoms: Atoms, options: ForceConstantsOptions, model: Any, nac_params: dict[str, Any] | None
) -> tuple[dict[str, Any], ForceConstants]:
    """Force constants of one crystal.

    :param nac_params: given ones, as phonopy takes them.
    :return: numbers of the result, and the force constants.
    """
    from aiida_mlfc.runner.force_constants import compute_force_constants
    from aiida_mlfc.runner.uncertainty import frequency_spread

    check_cell(atoms)
    atoms = symmetrized(atoms, options.symprec)
    matrix = options.supercell_matrix
    if matrix is None:
        matrix = supercell_for_length(atoms, options.supercell_length, options.max_atoms)
    elif not isinstance(matrix, str):
        _check_supercell(matrix, len(atoms))
    found = compute_force_constants(
        atoms,
        matrix,
        model,
        options.method,
        options.distance,
        symprec=options.symprec,
        nac_params=nac_params,
        truncation_qpoints=options.truncation_qpoints,
        tolerance=options.tolerance,
        max_atoms=options.max_atoms,
    )
    if options.uncertainty:
        found = replace(found, quality=replace(found.quality, uncertainty=frequency_spread(found, model)))
    data = {
        'quality': found.quality.to_dict(),
        'supercell_matrix': found.supercell_matrix,
        'primitive_matrix': found.primitive_matrix,
        'spacegroup': spacegroup(atoms, options.symprec),
        'n_atoms': len(atoms),
        'n_supercell_atoms': len(found.for_frequencies().supercell),
        'symprec': options.symprec,
    }
    if found.nac_params is not None and nac_params is None:
        # of the potential's own charges: nobody gave any
        data['nac_params'] = {name: np.asarray(found.nac_params[name]) for name in ('born', 'dielectric')}
    return data, found


def write_force_constants(folder: Path, found: ForceConstants) -> None:
    """In phonopy's own files: ``phonopy-load phonopy.yaml`` opens the folder."""
    phonon = found.for_frequencies()
    # In memory first, as in exchange.arrays: HDF5 does not survive a full disk.
    buffer = io.BytesIO()
    write_force_constants_to_hdf5(
        found.array,
        filename=buffer,  # h5py takes any file object
        p2s_map=phonon.primitive.p2s_map,
        physical_unit='eV/angstrom^2',
        compression='gzip',
    )
    (folder / FORCE_CONSTANTS_FILE).write_bytes(buffer.getbuffer())
    phonon.save(folder / PHONOPY_FILE, settings={'force_sets': False, 'displacements': False})


def _check_supercell(matrix: Any, n_atoms: int) -> None:
    """Refuse what a slip of the pen asks for, before anything is made of it.

    :raises ValueError: for more than :data:`LARGEST_SUPERCELL` atoms, or no matrix.
    """
    array = np.asarray(matrix, dtype=float)
    if array.shape not in ((3,), (3, 3)) or not np.isfinite(array).all():
        raise ValueError(f"supercell_matrix: got shape {array.shape}, wanted three integers, a 3x3 matrix, or 'auto'")
    n = n_atoms * abs(np.linalg.det(np.diag(array) if array.ndim == 1 else array))
    if n > LARGEST_SUPERCELL:
        raise ValueError(f'supercell_matrix: got {n:.3g} atoms, wanted at most {LARGEST_SUPERCELL}')


def phonons_of(force_constants: ForceConstants, options: PhononOptions) -> tuple[dict[str, Any], Phonons]:
    """Bands, DOS, thermal properties and stability of one set of force constants.

    :return: numbers of the result, and the record.
    """
    phonons = analyse(force_constants, options.mesh_length, points_per_segment=options.points_per_segment)
    stability, thermal = phonons.stability, phonons.thermal
    data = {
        'min_frequency': stability.min_frequency,
        'max_frequency': stability.max_frequency,
        'min_frequency_qpoint': stability.min_frequency_qpoint,
        'noise_floor': stability.noise_floor,
        'verdicts': stability.verdicts,
        'zero_point_energy': thermal.zero_point_energy,
        **{f'{name}_300K': value for name, value in thermal.at(300.0).items()},
        'gamma_frequencies': phonons.gamma_frequencies,
        'with_nac': phonons.with_nac,
        'mesh': phonons.dos.mesh,
        'warnings': phonons.warnings,
    }
    return data, phonons
