"""Time for each structure in one mlfc-run job, from ten small crystals to a thousand.

``mlfc-run`` itself, started anew for each job, its CPU time with all it starts; reading, computing and writing. The
potential of the force constants is a tiny MatterSim: the smaller the potential, the more would show what a job adds.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from shutil import copyfile

import numpy as np
from ase import Atoms
from ase.build import bulk
from row import Curve, Findings, Row
from sides import ONE_THREAD, TINY, TOY, checkpoint

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


def seconds_of(task: str, count: int, potential: str) -> float:
    """CPU seconds of a job, start of the program and load of the potential included."""
    options = {'supercell_matrix': SUPERCELL} if task == 'force_constants' else {}
    with tempfile.TemporaryDirectory() as name:
        folder, structures = Path(name) / 'job', crystals(count)
        job = Job(task, options, {key: key for key in structures}, POTENTIAL_FILE)
        write_job(folder, job, {key: {'structure': structure_arrays(a)} for key, a in structures.items()})
        copyfile(checkpoint(potential), folder / POTENTIAL_FILE)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, '-m', 'aiida_mlfc.runner.run', str(folder)],
            env={**os.environ, **ONE_THREAD}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise RuntimeError(f'mlfc-run ended with {done.returncode}: {done.stderr[-2000:]}')
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(counts: tuple[int, ...] = COUNTS, potential: str = TOY) -> Findings:
    """Evaluation with the toy of full size, force constants with the tiny one."""
    found = Findings()
    for task, weights in (('evaluate', potential), ('force_constants', TINY)):
        start = seconds_of(task, 1, weights)
        spent = {n: (seconds_of(task, n, weights) - start) / (n - 1) for n in counts}
        found.curves.append(Curve('Structures of 2 atoms in one job', task.replace('_', ' '), 'structures',
                                  'CPU s per structure', list(map(float, counts)), list(spent.values())))  # fmt: skip
        for n in counts[:-1]:
            found.rows.append(Row(
                'many-crystals', f'{task}: CPU s per structure in a job of {counts[-1]}', spent[counts[-1]],
                f'the same in a job of {n}', spent[n], f'a job of one ({start:.1f} s) taken off both', LIMIT,
            ))  # fmt: skip
    return found
