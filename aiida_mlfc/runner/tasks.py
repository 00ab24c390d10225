"""What is done with a structure, for each task: input arrays in, a result and its files out."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from phonopy.file_IO import write_force_constants_to_hdf5

from aiida_mlfc.core.force_constants.record import ForceConstants, Quality
from aiida_mlfc.core.phonons.analysis import analyse
from aiida_mlfc.core.structures.checks import check_cell
from aiida_mlfc.core.structures.supercells import supercell_for_length
from aiida_mlfc.core.structures.symmetry import spacegroup, symmetrized
from aiida_mlfc.exchange.arrays import write_arrays
from aiida_mlfc.exchange.job import structure_arrays, structure_from_arrays
from aiida_mlfc.exchange.names import ARRAYS_FILE, FORCE_CONSTANTS_FILE, PHONOPY_FILE
from aiida_mlfc.runner.displace import run_displace
from aiida_mlfc.runner.options import EvaluateOptions, ForceConstantsOptions, PhononOptions, RelaxOptions, TrainOptions
from aiida_mlfc.runner.outcome import Outcome

#: atoms, where the matrix is given; ``max_atoms`` is for those that are found
LARGEST_SUPERCELL = 50_000


def run_evaluate(
    keys: Iterable[str], read: Callable[[str], dict[str, Any]], options: EvaluateOptions, model: Any
) -> Iterator[tuple[str, Outcome | Exception, float]]:
    """Energy, forces, stress and the gradients of the energy of many crystals as they are, in batches."""
    from aiida_mlfc.runner.packed_evaluation import evaluate_packed

    return evaluate_packed(keys, read, options, model)


def run_train(
    folder: Path, keys: Mapping[str, str], read: Callable[[str], dict[str, Any]], options: TrainOptions
) -> Iterator[tuple[str, Outcome | Exception, float]]:
    """One potential from all force sets of the job."""
    from aiida_mlfc.runner.training import run_train as train

    return train(folder, keys, read, options)


def run_relax(inputs: dict[str, Any], options: RelaxOptions, model: Any) -> Outcome:
    """Relax one crystal; the relaxed structure goes into ``arrays.hdf5``."""
    from aiida_mlfc.core.potentials.relaxation.relax import largest_displacement, relax
    from aiida_mlfc.core.potentials.validity import RELAXATION_MARGIN, check_displacement

    atoms = structure_from_arrays(inputs['structure'])
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
    if 'origin' in inputs:
        # A relaxation that was continued: what the potential was trained on counts from where the first one began.
        moved = largest_displacement(structure_from_arrays(inputs['origin']), found.atoms)
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
    return data, lambda folder: write_arrays(folder / ARRAYS_FILE, {'structure': structure_arrays(found.atoms)})


def run_force_constants(inputs: dict[str, Any], options: ForceConstantsOptions, model: Any) -> Outcome:
    """Force constants of one crystal, in phonopy's own files: ``phonopy-load phonopy.yaml`` opens the folder."""
    from aiida_mlfc.runner.force_constants import compute_force_constants
    from aiida_mlfc.runner.uncertainty import frequency_spread

    atoms = structure_from_arrays(inputs['structure'])
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
        nac_params=inputs.get('nac_params'),
        truncation_qpoints=options.truncation_qpoints,
        tolerance=options.tolerance,
        max_atoms=options.max_atoms,
    )
    phonon = found.for_frequencies()
    quality = found.quality
    if options.uncertainty:
        quality = replace(quality, uncertainty=frequency_spread(found, model))
    data = {
        'quality': quality.to_dict(),
        'supercell_matrix': found.supercell_matrix,
        'primitive_matrix': found.primitive_matrix,
        'spacegroup': spacegroup(atoms, options.symprec),
        'n_atoms': len(atoms),
        'n_supercell_atoms': len(phonon.supercell),
        'symprec': options.symprec,
    }
    if found.nac_params is not None and inputs.get('nac_params') is None:
        # of the potential's own charges: nobody gave any
        data['nac_params'] = {name: np.asarray(found.nac_params[name]) for name in ('born', 'dielectric')}

    def write_files(folder: Path) -> None:
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
        write_arrays(folder / ARRAYS_FILE, {'structure': structure_arrays(found.unitcell)})

    return data, write_files


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


def run_phonons(inputs: dict[str, Any], options: PhononOptions, model: Any) -> Outcome:
    """Bands, DOS, thermal properties and stability of one set of force constants."""
    given = inputs['force_constants']
    force_constants = ForceConstants(
        array=np.asarray(given['array']),
        unitcell=structure_from_arrays(inputs['structure']),
        supercell_matrix=np.asarray(given['supercell_matrix']),
        primitive_matrix=np.asarray(given['primitive_matrix']),
        quality=Quality(**given['quality']),
        nac_params=inputs.get('nac_params'),
        symprec=given['symprec'],
    )
    phonons = analyse(force_constants, options.mesh_length, points_per_segment=options.points_per_segment)
    content = phonons.to_dict()
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
    return data, lambda folder: write_arrays(folder / ARRAYS_FILE, content)


#: tasks that see one structure at a time
TASKS: dict[str, Callable[[dict[str, Any], Any, Any], Outcome]] = {
    'relax': run_relax,
    'force_constants': run_force_constants,
    'phonons': run_phonons,
    'displace': run_displace,
}
#: tasks that see all structures of the job, and give results one by one
BATCHED_TASKS: dict[str, Callable[..., Iterator[tuple[str, Outcome | Exception, float]]]] = {'evaluate': run_evaluate}
#: tasks that make one thing of all inputs of the job, in the job folder; done as a whole or not at all
JOINT_TASKS: dict[str, Callable[..., Iterator[tuple[str, Outcome | Exception, float]]]] = {'train': run_train}
