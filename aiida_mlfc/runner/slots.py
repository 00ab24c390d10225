"""Where the workers of a job run: one for each GPU that is visible, or an equal part of the cores for each."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from aiida_mlfc.exchange.job import JobFileError

#: numbers of threads, by whoever reads them
_THREADS = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'NUMEXPR_NUM_THREADS')
VISIBLE = 'CUDA_VISIBLE_DEVICES'


@dataclass(frozen=True)
class Slot:
    """A place for one worker.

    :param environment: what its environment holds besides that of this process.
    """

    number: int
    environment: dict[str, str]

    @property
    def where(self) -> str:
        """For people."""
        if VISIBLE in self.environment:
            return f'GPU {self.environment[VISIBLE]}'
        return f'{self.environment[_THREADS[0]]} thread(s)'


def n_cores(environment: Mapping[str, str] = os.environ) -> int:
    """Cores that this job may use: those of the process, or those that Slurm gave to the task if they are fewer."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    given = environment.get('SLURM_CPUS_PER_TASK', '')
    return min(here, int(given)) if given.isascii() and given.isdigit() and int(given) > 0 else here


def visible_gpus(environment: Mapping[str, str] = os.environ) -> list[str]:
    """GPUs of this job, by the names that ``CUDA_VISIBLE_DEVICES`` takes."""
    if VISIBLE in environment:
        return [name.strip() for name in environment[VISIBLE].split(',') if name.strip() not in ('', '-1')]
    # In a process of its own: whoever counts GPUs with torch has it in memory, and perhaps a context on one of them.
    code = 'import torch; print(torch.cuda.device_count())'
    counted = subprocess.run([sys.executable, '-P', '-c', code], capture_output=True, text=True, check=False)
    text = counted.stdout.strip()
    return [str(k) for k in range(int(text))] if text.isdigit() else []


def slots(
    workers: int | str, device: str, n_structures: int, environment: Mapping[str, str] = os.environ
) -> list[Slot]:
    """Places for the workers of a job, never more than there are structures.

    :param workers: how many, or ``auto``.
    :param device: of the potential, ``cpu`` or ``cuda``.
    :raises JobFileError: if there is no GPU, or the job wants a certain one for all.
    """
    if not device.startswith('cuda'):
        cores = n_cores(environment)
        n = min(cores if workers == 'auto' else int(workers), n_structures)
        threads = dict.fromkeys(_THREADS, str(max(1, cores // n)))
        return [Slot(k, dict(threads)) for k in range(n)]
    if device != 'cuda':
        raise JobFileError(f'device: got {device!r} with several workers, wanted cuda: each gets a GPU of its own')
    gpus = visible_gpus(environment)
    if not gpus:
        raise JobFileError('device: got cuda, but no GPU is visible; wanted cpu, or a job that asks for GPUs')
    n = min(len(gpus) if workers == 'auto' else int(workers), n_structures)
    return [Slot(k, {VISIBLE: gpus[k % len(gpus)]}) for k in range(n)]
