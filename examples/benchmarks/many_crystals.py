"""Time for each structure in one mlfc-run job, from ten small crystals to a thousand.

What ``mlfc-run`` does with a job folder, in a process that has imported everything: reading, loading the potential,
computing, writing. The potential of the force constants is a tiny MatterSim: the smaller the potential, the more would
show what a job adds.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from shutil import copyfile

import numpy as np
from ase import Atoms
from ase.build import bulk
from row import Curve, Findings, Row
from sides import TINY, TOY, checkpoint, ours

from aiida_mlfc.exchange.job import Job, structure_arrays, write_job
from aiida_mlfc.exchange.names import POTENTIAL_FILE

COUNTS = (10, 100, 1000)
#: cost of a structure at the largest count over that at a smaller one
LIMIT = 1.2
#: of force constants
SUPERCELL = [2, 2, 2]


def crystals(count: int) -> dict[str, Atoms]:
    """Silicon, two atoms, each strained in its own way by up to 1 %."""
    found = {}
    for k in range(count):
        atoms = bulk('Si', 'diamond', 5.43)
        strain = np.random.default_rng(k).uniform(-0.01, 0.01, (3, 3))
        atoms.set_cell(np.array(atoms.cell) @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
        found[f'crystal_{k:04d}'] = atoms
    return found


def make_job(folder: Path, task: str, count: int, potential: str) -> str:
    """A job folder for ``mlfc-run``."""
    options = {'supercell_matrix': SUPERCELL} if task == 'force_constants' else {}
    structures = crystals(count)
    job = Job(task, options, {key: key for key in structures}, POTENTIAL_FILE)
    write_job(folder, job, {key: {'structure': structure_arrays(atoms)} for key, atoms in structures.items()})
    copyfile(checkpoint(potential), folder / POTENTIAL_FILE)
    return str(folder)


def measure(counts: tuple[int, ...] = COUNTS, potential: str = TOY) -> Findings:
    """Evaluation with the toy of full size, force constants with the tiny one."""
    found = Findings()
    with ours('float64', TINY) as side, tempfile.TemporaryDirectory(prefix='mlfc-bench-') as name:
        for task, weights in (('evaluate', potential), ('force_constants', TINY)):
            each = {}
            for count in counts:
                warming, folder = (
                    make_job(Path(name) / f'{task}-{count}-{kind}', task, n, weights)
                    for kind, n in (('warming', 1), ('job', count))
                )
                # a folder can be done once only: repeats would find everything there
                each[count] = side.ask('job', folder=folder, warming=warming)['seconds']['all'] / count
            found.curves.append(Curve(
                'Structures of 2 atoms in one job', task.replace('_', ' '), 'structures', 'CPU s per structure',
                list(map(float, counts)), list(each.values()),
            ))  # fmt: skip
            found.rows += [
                Row('many-crystals', f'{task}: CPU s per structure in a job of {counts[-1]}', each[counts[-1]],
                    f'the same in a job of {n}', each[n], 'the load of the potential and all files are in it', LIMIT)
                for n in counts[:-1]
            ]  # fmt: skip
    return found
