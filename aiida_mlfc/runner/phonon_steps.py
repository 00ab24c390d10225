"""``task: phonon_steps``: from a crystal to its phonons in one go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ase import Atoms

from aiida_mlfc.exchange.arrays import write_arrays
from aiida_mlfc.exchange.job import structure_arrays, structure_from_arrays
from aiida_mlfc.exchange.names import ARRAYS_FILE, RELAXED_FILE, UNIT_CELL_FILE
from aiida_mlfc.runner.options import PhononStepsOptions
from aiida_mlfc.runner.outcome import Outcome, StepFailed
from aiida_mlfc.runner.steps import force_constants_of, phonons_of, relaxed_in_rounds, write_force_constants


def run_phonon_steps(inputs: dict[str, Any], options: PhononStepsOptions, model: Any) -> Outcome:
    """Relax one crystal, if that is asked for; then its force constants; then its phonons.

    :raises StepFailed: with what the steps before it have.
    """
    atoms = structure_from_arrays(inputs['structure'])
    data: dict[str, Any] = {}
    relaxed: Atoms | None = None
    step = 'relax'
    try:
        if options.relax is not None:
            data[step], relaxed = relaxed_in_rounds(atoms, options.relax, model)
        step = 'force_constants'
        nac_params = inputs.get('nac_params')
        data[step], found = force_constants_of(
            atoms if relaxed is None else relaxed, options.force_constants, model, nac_params
        )
        step = 'phonons'
        data[step], phonons = phonons_of(found, options.phonons)
    except Exception as error:
        data.pop(step, None)
        raise StepFailed(step, error, data, _writer(relaxed)) from error

    def write_files(folder: Path) -> None:
        _writer(relaxed)(folder)
        write_force_constants(folder, found)
        write_arrays(folder / UNIT_CELL_FILE, {'structure': structure_arrays(found.unitcell)})
        write_arrays(folder / ARRAYS_FILE, phonons.to_dict())

    return data, write_files


def _writer(relaxed: Atoms | None) -> Any:
    """Writes the relaxed crystal, if there is one."""

    def write_files(folder: Path) -> None:
        if relaxed is not None:
            write_arrays(folder / RELAXED_FILE, {'structure': structure_arrays(relaxed)})

    return write_files
