"""Force constants of a potential at the geometries and in the supercells of references, by ``mlfc-run``.

The command's only way to a potential: torch stays in that process. Through AiiDA, with provenance, ``mlfc.comparison``
computes the same.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from aiida_mlfc.core.checkpoint_files import read_header, resolve
from aiida_mlfc.core.checkpoint_header import sha256_of
from aiida_mlfc.core.force_constants.record import ForceConstants, Quality
from aiida_mlfc.core.structures.checks import UnknownSpeciesError, check_species
from aiida_mlfc.exchange.arrays import read_arrays
from aiida_mlfc.exchange.job import Job, structure_arrays, structure_from_arrays, write_job
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
    potential: PotentialFile, references: Mapping[str, ForceConstants], folder: Path, device: str = 'cpu'
) -> Iterator[tuple[str, ForceConstants | str]]:
    """Autograd force constants at each reference's own geometry and supercell, or why there are none.

    One job for all references with the same supercell matrix and tolerance: these are options of a job. A job that was
    interrupted in the same folder is finished, not repeated.

    :param references: by name.
    :param folder: for the job folders; results stay there.
    :raises RuntimeError: if ``mlfc-run`` is not there.
    """
    jobs: dict[tuple[Any, ...], dict[str, ForceConstants]] = {}
    for name, reference in references.items():
        try:
            check_species(reference.unitcell.numbers, potential.species)
        except UnknownSpeciesError as error:
            yield name, str(error)
            continue
        options = (tuple(map(tuple, np.asarray(reference.supercell_matrix).tolist())), reference.symprec)
        jobs.setdefault(options, {})[name] = reference
    for number, ((matrix, symprec), members) in enumerate(jobs.items()):
        here = folder / f'{potential.sha256[:12]}-{number}'
        keys = {f'r{k:05d}': name for k, name in enumerate(members)}
        job = Job(
            'force_constants',
            {
                'supercell_matrix': [list(row) for row in matrix],
                'symprec': symprec,
                'truncation_qpoints': 0,
                'device': device,
            },
            keys,
            OTHER_POTENTIAL_FILES.get(potential.architecture, POTENTIAL_FILE),
        )
        write_job(
            here, job, {key: {'structure': structure_arrays(members[name].unitcell)} for key, name in keys.items()}
        )
        shutil.copyfile(potential.path, here / str(job.potential))
        code = run_mlfc(here)
        for key, name in keys.items():
            # 4: some structures failed, which their results say; what a job finished before it broke counts
            result = _result(here, key, members[name])
            if isinstance(result, str) and code not in (0, 4):
                result = f'mlfc-run ended with exit code {code}; stderr says why ({result})'
            yield name, result


def run_mlfc(folder: Path) -> int:
    """``mlfc-run`` of this environment; its progress goes to stderr as it comes."""
    beside = Path(sys.executable).with_name('mlfc-run')
    program = str(beside) if beside.exists() else shutil.which('mlfc-run')
    if program is None:
        raise RuntimeError('mlfc-run is not on the PATH; is the package installed in this environment?')
    return subprocess.run([program, str(folder)], stdout=sys.stderr, check=False).returncode


def _result(folder: Path, key: str, reference: ForceConstants) -> ForceConstants | str:
    try:
        content = read_result(folder, key)
        if content['status'] == 'failed':
            return str(content['error']['message'])
        data, files = content['data'], folder / RESULTS / key
        with h5py.File(files / FORCE_CONSTANTS_FILE, 'r') as handle:
            array = handle['force_constants'][...]
        atoms = structure_from_arrays(read_arrays(files / ARRAYS_FILE)['structure'])
    except (ResultError, OSError, KeyError, ValueError) as error:
        return f'the result of mlfc-run cannot be read: {error}'
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
