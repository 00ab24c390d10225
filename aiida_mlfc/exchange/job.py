"""The job file: what ``mlfc-run`` is asked to do, on which structures, with which potential.

``job.yaml`` holds the task and its options; each structure is one HDF5 file in ``inputs/``, named by its key.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase import Atoms

from aiida_mlfc.core.structures.cells import isotope_masses
from aiida_mlfc.exchange import bounded_yaml, limits
from aiida_mlfc.exchange.arrays import read_arrays, write_arrays
from aiida_mlfc.exchange.limits import check_file
from aiida_mlfc.exchange.names import INPUTS, JOB_FILE, SCHEMA_VERSION, TASKS, TASKS_WITHOUT_POTENTIAL, check_key


class JobFileError(ValueError):
    """The job folder is not what ``mlfc-run`` understands; the message says why."""


@dataclass(frozen=True)
class Job:
    """A job, without the structures themselves.

    :param task: one of :data:`~aiida_mlfc.exchange.names.TASKS`.
    :param options: of the task, see ``runner``.
    :param structures: names by key; names are free text for people, keys are file names.
    :param potential: file name of the checkpoint in the job folder, or None where the task needs none.
    :param execution: how it is run, which no result depends on: ``workers``, a number or ``auto``; ``again``, keys
        whose results are not to be believed.
    """

    task: str
    options: dict[str, Any]
    structures: dict[str, str]
    potential: str | None = None
    schema_version: int = field(default=SCHEMA_VERSION)
    execution: dict[str, Any] = field(default_factory=dict)


def structure_arrays(atoms: Atoms) -> dict[str, np.ndarray]:
    """A crystal as arrays: ``numbers (n,)``, ``positions (n, 3)`` and ``cell (3, 3)`` in Å.

    ``masses (n,)`` (amu) are among them where there are isotopes: without, they are those of the elements.
    """
    arrays = {'numbers': np.array(atoms.numbers), 'positions': np.array(atoms.positions), 'cell': np.array(atoms.cell)}
    masses = isotope_masses(atoms)
    return arrays if masses is None else {**arrays, 'masses': masses}


def structure_from_arrays(arrays: dict[str, Any]) -> Atoms:
    """The inverse of :func:`structure_arrays`.

    :raises JobFileError: if something is missing or shapes disagree.
    """
    try:
        numbers = np.asarray(arrays['numbers'])
        positions, cell = np.asarray(arrays['positions'], dtype=float), np.asarray(arrays['cell'], dtype=float)
    except KeyError as error:
        raise JobFileError(f'a structure has no {error}') from error
    if numbers.ndim != 1 or positions.shape != (len(numbers), 3) or cell.shape != (3, 3):
        raise JobFileError(
            f'a structure has shapes {numbers.shape}, {positions.shape}, {cell.shape}, wanted (n,), (n, 3), (3, 3)'
        )
    atoms = Atoms(numbers=numbers, positions=positions, cell=cell, pbc=True)
    if 'masses' in arrays:
        masses = np.asarray(arrays['masses'], dtype=float)
        if masses.shape != numbers.shape or not (np.isfinite(masses) & (masses > 0)).all():
            raise JobFileError(
                f'a structure has masses of shape {masses.shape}, wanted {numbers.shape}, finite and above zero'
            )
        atoms.set_masses(masses)
    return atoms


def write_job(folder: Path | str, job: Job, inputs: dict[str, dict[str, Any]]) -> None:
    """Write ``job.yaml`` and one input file a structure.

    :param inputs: by key, ``{'structure': structure_arrays(...)}`` and whatever else the task needs.
    """
    folder = Path(folder)
    (folder / INPUTS).mkdir(parents=True, exist_ok=True)
    if set(inputs) != set(job.structures):
        raise JobFileError(f'inputs for {sorted(inputs)}, but the job names {sorted(job.structures)}')
    for key, values in inputs.items():
        write_arrays(folder / INPUTS / f'{check_key(key)}.hdf5', values)
    content = {
        'schema_version': job.schema_version,
        'task': job.task,
        'potential': job.potential,
        'options': job.options,
        'structures': {k: {'name': n} for k, n in job.structures.items()},
    }
    if job.execution:
        content['execution'] = job.execution
    (folder / JOB_FILE).write_text(bounded_yaml.dumps(content), encoding='utf-8')


def read_job(folder: Path | str) -> Job:
    """Read and check ``job.yaml``.

    :raises JobFileError: if it is missing, broken, of another version, or asks for something unknown.
    """
    path = Path(folder) / JOB_FILE
    if not path.is_file():
        raise JobFileError(f'there is no {JOB_FILE} in {folder}')
    try:
        text = check_file(path, limits.LARGEST_JOB_FILE).read_text(encoding='utf-8')
        content = bounded_yaml.loads(text, limits.DEEPEST_JOB_FILE)
        if not isinstance(content, dict):
            raise JobFileError(f'{JOB_FILE} holds no mapping')
        if content.get('schema_version') != SCHEMA_VERSION:
            raise JobFileError(
                f'{JOB_FILE} has schema_version {content.get("schema_version")}, wanted {SCHEMA_VERSION}'
            )
        if content.get('task') not in TASKS:
            raise JobFileError(f'{JOB_FILE}: task is {content.get("task")!r}, wanted one of {", ".join(TASKS)}')
        potential = content.get('potential')
        if potential is not None and (not isinstance(potential, str) or Path(potential).name != potential):
            raise JobFileError(f'{JOB_FILE}: potential is {potential!r}, wanted the name of a file in the job folder')
        if potential is None and content['task'] not in TASKS_WITHOUT_POTENTIAL:
            raise JobFileError(f'{JOB_FILE} names no potential, and task {content["task"]} needs one')
        structures = _structures(content['structures'])
        options, execution = dict(content.get('options') or {}), dict(content.get('execution') or {})
        if len(json.dumps(options)) > limits.LONGEST_OPTIONS:
            raise JobFileError(f'{JOB_FILE}: options are longer than {limits.LONGEST_OPTIONS} characters')
        if unknown := set(execution) - {'workers', 'again'}:
            raise JobFileError(f'{JOB_FILE}: execution has {sorted(map(str, unknown))[:3]}, wanted workers or again')
        check_workers(execution.get('workers'))
        if not set(execution.get('again', [])) <= set(structures):
            raise JobFileError(f'{JOB_FILE}: again holds keys that are none of the job')
        return Job(content['task'], options, structures, potential, execution=execution)
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError, OSError, RecursionError) as error:
        if isinstance(error, JobFileError):
            raise
        raise JobFileError(f'{JOB_FILE} is broken: {error}') from error


def _structures(content: dict[str, Any]) -> dict[str, str]:
    """Names by key."""
    if not content:
        raise JobFileError(f'{JOB_FILE} names no structure')
    if len(content) > limits.MOST_STRUCTURES:
        raise JobFileError(f'{JOB_FILE} names {len(content)} structures, wanted at most {limits.MOST_STRUCTURES}')
    names = {check_key(key): str(entry['name']) for key, entry in content.items()}
    for key, name in names.items():
        if len(name) > limits.LONGEST_NAME:
            raise JobFileError(f'name of {key}: got {len(name)} characters, wanted at most {limits.LONGEST_NAME}')
    return names


def check_workers(workers: int | str | None) -> int | str | None:
    """A number of workers above zero, ``auto``, or None.

    :raises JobFileError: for anything else.
    """
    if workers is None or workers == 'auto':
        return workers
    if isinstance(workers, (int, str)) and not isinstance(workers, bool):
        text = str(workers)
        if text.isascii() and text.isdigit() and 1 <= len(text) <= 4 and int(text) > 0:
            return int(text)
    raise JobFileError(f'workers: got {workers!r}, wanted a number from 1 to 9999, or auto')


def read_input(folder: Path | str, key: str) -> dict[str, Any]:
    """The input of one structure.

    :raises JobFileError: if the file is missing or broken.
    """
    path = Path(folder) / INPUTS / f'{check_key(key)}.hdf5'
    try:
        return read_arrays(check_file(path, limits.LARGEST_ARRAYS))
    except OSError as error:
        raise JobFileError(f'input of {key} cannot be read: {error}') from error


def fingerprint(folder: Path | str, job: Job, key: str, potential_sha256: str | None) -> str:
    """sha256 over everything that determines the result of one structure: a result is reused only if it agrees."""
    digest = hashlib.sha256(
        json.dumps([job.schema_version, job.task, job.options, potential_sha256], sort_keys=True).encode()
    )
    path = Path(folder) / INPUTS / f'{check_key(key)}.hdf5'
    digest.update(check_file(path, limits.LARGEST_ARRAYS).read_bytes())
    return digest.hexdigest()
