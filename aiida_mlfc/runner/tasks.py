"""What is done with a structure, for each task: input arrays in, a result and its files out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aiida_mlfc.core.force_constants.record import ForceConstants, Quality
from aiida_mlfc.exchange.arrays import write_arrays
from aiida_mlfc.exchange.job import structure_arrays, structure_from_arrays
from aiida_mlfc.exchange.names import ARRAYS_FILE
from aiida_mlfc.runner.displace import run_displace
from aiida_mlfc.runner.options import EvaluateOptions, ForceConstantsOptions, PhononOptions, RelaxOptions, TrainOptions
from aiida_mlfc.runner.outcome import Outcome
from aiida_mlfc.runner.phonon_steps import run_phonon_steps
from aiida_mlfc.runner.steps import force_constants_of, phonons_of, relaxed, write_force_constants


def run_evaluate(
    keys: Iterable[str], read: Callable[[str], dict[str, Any]], options: EvaluateOptions, model: Any
) -> Iterator[tuple[str, Outcome | Exception, float]]:
    """Energy, forces, stress and the gradients of the energy of many crystals as they are, in batches."""
    from aiida_mlfc.core.potentials.relaxation.elastic import elastic_constants_of
    from aiida_mlfc.runner.packed_evaluation import evaluate_packed

    further = {'elastic_constants': elastic_constants_of} if options.elastic else {}
    return evaluate_packed(keys, read, model, further=further)


def run_train(
    folder: Path, keys: Mapping[str, str], read: Callable[[str], dict[str, Any]], options: TrainOptions
) -> Iterator[tuple[str, Outcome | Exception, float]]:
    """One potential from all force sets of the job."""
    from aiida_mlfc.runner.training import run_train as train

    return train(folder, keys, read, options)


def run_relax(inputs: dict[str, Any], options: RelaxOptions, model: Any) -> Outcome:
    """Relax one crystal; the relaxed structure goes into ``arrays.hdf5``."""
    origin = structure_from_arrays(inputs['origin']) if 'origin' in inputs else None
    data, atoms = relaxed(structure_from_arrays(inputs['structure']), options, model, origin)
    return data, lambda folder: write_arrays(folder / ARRAYS_FILE, {'structure': structure_arrays(atoms)})


def run_force_constants(inputs: dict[str, Any], options: ForceConstantsOptions, model: Any) -> Outcome:
    """Force constants of one crystal, in phonopy's own files, and the cell that they belong to."""
    atoms = structure_from_arrays(inputs['structure'])
    data, found = force_constants_of(atoms, options, model, inputs.get('nac_params'))

    def write_files(folder: Path) -> None:
        write_force_constants(folder, found)
        write_arrays(folder / ARRAYS_FILE, {'structure': structure_arrays(found.unitcell)})

    return data, write_files


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
    data, phonons = phonons_of(force_constants, options)
    content = phonons.to_dict()
    return data, lambda folder: write_arrays(folder / ARRAYS_FILE, content)


#: tasks that see one structure at a time
TASKS: dict[str, Callable[[dict[str, Any], Any, Any], Outcome]] = {
    'relax': run_relax,
    'force_constants': run_force_constants,
    'phonons': run_phonons,
    'phonon_steps': run_phonon_steps,
    'displace': run_displace,
}
#: tasks that see all structures of the job, and give results one by one
BATCHED_TASKS: dict[str, Callable[..., Iterator[tuple[str, Outcome | Exception, float]]]] = {'evaluate': run_evaluate}
#: tasks that make one thing of all inputs of the job, in the job folder; done as a whole or not at all
JOINT_TASKS: dict[str, Callable[..., Iterator[tuple[str, Outcome | Exception, float]]]] = {'train': run_train}
