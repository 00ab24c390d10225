"""Force constants of a potential in the supercells of references, at their geometry or its own, by ``mlfc-run``.

The command's only way to a potential: torch stays in that process. Through AiiDA, with provenance, ``mlfc.comparison``
computes the same.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase import Atoms

from aiida_mlfc.core.checkpoint_files import read_header, resolve
from aiida_mlfc.core.checkpoint_header import sha256_of
from aiida_mlfc.core.force_constants.record import ForceConstants, Quality
from aiida_mlfc.core.structures.checks import UnknownSpeciesError, check_species
from aiida_mlfc.exchange.arrays import read_arrays
from aiida_mlfc.exchange.job import Job, fingerprint, read_job, structure_arrays, structure_from_arrays, write_job
from aiida_mlfc.exchange.names import ARRAYS_FILE, FORCE_CONSTANTS_FILE, OTHER_POTENTIAL_FILES, POTENTIAL_FILE, RESULTS
from aiida_mlfc.exchange.results import ResultError, read_result

#: files with these suffixes are potentials, not references
SUFFIXES = ('.safetensors', '.pth')


@dataclass(frozen=True)
class PotentialFile:
    """A potential as a file.

    :param label: its name as it was given, or as its card says where it was given as a path.
    :param species: atomic numbers it knows.
    """

    label: str
    path: Path
    sha256: str
    architecture: str
    species: tuple[int, ...]


def is_potential(text: str) -> bool:
    """Whether an argument names a potential: by name, or a file with the suffix of one."""
    from aiida_mlfc.core.checkpoint_files import published_names, shipped_names

    if Path(text).exists():
        return Path(text).is_file() and Path(text).suffix.lower() in SUFFIXES
    return text in shipped_names() or text.lower().removesuffix('.pth') in published_names()


def potential_file(text: str) -> PotentialFile:
    """Find a potential, fetching a published one.

    :raises CheckpointError: if there is none.
    """
    path = resolve(text)
    header = read_header(path)
    label = str(header.card.get('name') or path.stem) if Path(text).exists() else text
    return PotentialFile(label, path, sha256_of(path), header.architecture, tuple(header.species))


def force_constants_of(
    potential: PotentialFile,
    references: Mapping[str, ForceConstants],
    folder: Path,
    device: str = 'cpu',
    own_geometry: bool = False,
) -> Iterator[tuple[str, ForceConstants | str]]:
    """Autograd force constants in each reference's supercell, or why there are none.

    One job for all references with the same supercell matrix and tolerance: these are options of a job. A job that was
    interrupted in the same folder is finished, not repeated.

    :param references: by name.
    :param folder: for the job folders; results stay there.
    :param own_geometry: relax cell and positions with the potential first; otherwise at the reference's geometry.
    :raises RuntimeError: if ``mlfc-run`` is not there.
    """
    known: dict[str, ForceConstants] = {}
    for name, reference in references.items():
        try:
            check_species(reference.unitcell.numbers, potential.species)
        except UnknownSpeciesError as error:
            yield name, str(error)
        else:
            known[name] = reference
    structures = {name: reference.unitcell for name, reference in known.items()}
    if own_geometry:
        for options, names in _grouped(known, lambda r: {'symprec': r.symprec}):
            there = folder / f'{potential.sha256[:12]}-relax-{options["symprec"]:g}'
            atoms = {name: structures[name] for name in names}
            for name, result in _job(potential, there, 'relax', {**options, 'relax_cell': True}, atoms, device):
                if isinstance(result, str):
                    yield name, result
                    structures.pop(name)
                else:
                    structures[name] = structure_from_arrays(read_arrays(result[1] / ARRAYS_FILE)['structure'])
    grouped = _grouped(
        {name: known[name] for name in structures},
        lambda r: {'supercell_matrix': np.asarray(r.supercell_matrix).tolist(), 'symprec': r.symprec},
    )
    for number, (options, names) in enumerate(grouped):
        there = folder / f'{potential.sha256[:12]}-{number}'
        atoms = {name: structures[name] for name in names}
        for name, found in _job(
            potential, there, 'force_constants', {**options, 'truncation_qpoints': 0}, atoms, device
        ):
            yield name, found if isinstance(found, str) else _force_constants(*found, known[name])


def _grouped(
    references: Mapping[str, ForceConstants], options: Callable[[ForceConstants], dict[str, Any]]
) -> list[tuple[dict[str, Any], list[str]]]:
    """References that can share a job."""
    groups: dict[str, tuple[dict[str, Any], list[str]]] = {}
    for name, reference in references.items():
        found = options(reference)
        groups.setdefault(repr(found), (found, []))[1].append(name)
    return list(groups.values())


def _job(
    potential: PotentialFile,
    folder: Path,
    task: str,
    options: dict[str, Any],
    structures: Mapping[str, Atoms],
    device: str,
) -> Iterator[tuple[str, tuple[dict[str, Any], Path] | str]]:
    """Run one job: by name the data of a result with the folder of its files, or what went wrong."""
    keys = {f'r{k:05d}': name for k, name in enumerate(structures)}
    file = OTHER_POTENTIAL_FILES.get(potential.architecture, POTENTIAL_FILE)
    job = Job(task, {**options, 'device': device}, keys, file)
    write_job(folder, job, {key: {'structure': structure_arrays(structures[name])} for key, name in keys.items()})
    shutil.copyfile(potential.path, folder / file)
    code = run_mlfc(folder)
    written = read_job(folder)
    for key, name in keys.items():
        try:
            content = result_of_this_job(folder, written, key, potential.sha256)
        except ResultError as error:
            yield name, f'mlfc-run ended with exit code {code}; stderr says why ({error})'
            continue
        if content['status'] == 'failed':
            yield name, str(content['error']['message'])
        else:
            yield name, (content['data'], folder / RESULTS / key)


def result_of_this_job(folder: Path, job: Job, key: str, potential_sha256: str) -> dict[str, Any]:
    """``result.json`` of one structure, computed from exactly what lies in the folder now.

    A folder that is kept is used again, under the same keys, for other references and other options. What an earlier
    run left there is not what was asked for, and is all there is where ``mlfc-run`` ended before it began.

    :param job: as read from the folder.
    :raises ResultError: if it is missing, broken, or of another job.
    """
    content = read_result(folder, key)
    if content.get('fingerprint') != fingerprint(folder, job, key, potential_sha256):
        raise ResultError(f'the result of {key} is of an earlier job with other inputs; remove {folder} to begin anew')
    return content


def run_mlfc(folder: Path) -> int:
    """``mlfc-run`` of this environment; its progress goes to stderr as it comes."""
    beside = Path(sys.executable).with_name('mlfc-run')
    program = str(beside) if beside.exists() else shutil.which('mlfc-run')
    if program is None:
        raise RuntimeError('mlfc-run is not on the PATH; is the package installed in this environment?')
    return subprocess.run([program, str(folder)], stdout=sys.stderr, check=False).returncode


def _force_constants(data: dict[str, Any], files: Path, reference: ForceConstants) -> ForceConstants | str:
    """A finished result as record, with the masses of the reference."""
    try:
        with h5py.File(files / FORCE_CONSTANTS_FILE, 'r') as handle:
            array = handle['force_constants'][...]
        atoms = structure_from_arrays(read_arrays(files / ARRAYS_FILE)['structure'])
        if reference.unitcell.has('masses'):
            atoms.set_masses(reference.unitcell.get_masses())
        return ForceConstants(
            array=array,
            unitcell=atoms,
            supercell_matrix=np.asarray(data['supercell_matrix']),
            primitive_matrix=np.asarray(data['primitive_matrix']),
            quality=Quality(**data['quality']),
            symprec=float(data['symprec']),
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        return f'the result of mlfc-run cannot be read: {error}'
