"""Several processes of this machine train one model; the state that they leave is read by the process that asked."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from torch.multiprocessing.spawn import start_processes

from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.training.batches import prepare
from aiida_mlfc.core.potentials.training.defaults import repeated
from aiida_mlfc.core.potentials.training.loop import Trainer
from aiida_mlfc.core.potentials.training.ranks import joined
from aiida_mlfc.core.potentials.training.recipe import Recipe
from aiida_mlfc.core.potentials.training.references import Reference
from aiida_mlfc.core.potentials.training.validation import Validation
from aiida_mlfc.runner.exit_codes import EXIT_TERMINATED
from aiida_mlfc.runner.training_log import TrainingLog

#: s; between looks at whether somebody wants them to stop
POLL = 0.2
#: name of the file by which they meet, in the folder of the training
MEETING = '.meeting'


@dataclass(frozen=True)
class Together:
    """What a training in several processes needs.

    :param model: before the first step, on the CPU.
    :param references: learned from.
    :param set_aside: validated on.
    :param note: see :class:`Trainer`.
    :param device: ``cpu``, or ``cuda``: process k takes GPU k.
    :param threads: of torch in each process.
    """

    folder: Path
    model: EnergyModel
    references: Sequence[Reference]
    set_aside: Sequence[Reference]
    recipe: Recipe
    edges_per_step: int
    note: str
    device: str
    threads: int

    def run(self, n_processes: int, should_stop: Callable[[], bool]) -> None:
        """Train to the end, or until somebody wants it to stop; the state is in the folder then.

        :raises Exception: of the first process that failed; the others are ended.
        """
        store = self.folder / MEETING
        store.unlink(missing_ok=True)
        stop = torch.multiprocessing.get_context('spawn').Event()
        context = start_processes(_one, (n_processes, self, stop), n_processes, join=False, start_method='spawn')
        assert context is not None
        try:
            while not context.join(timeout=POLL):
                if should_stop():
                    stop.set()
        finally:
            for process in context.processes:
                process.kill()
            store.unlink(missing_ok=True)


def _one(rank: int, n_processes: int, work: Together, stop: Any) -> None:
    """One of the processes."""
    for number in (signal.SIGTERM, signal.SIGINT):
        # whoever asked them is told, and tells them
        signal.signal(number, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(work.threads)
    device = work.device
    if device.startswith('cuda'):
        device = f'cuda:{rank}'
        # where NCCL puts what is no tensor
        torch.cuda.set_device(device)
    # A copy: tensors that come from another process are in memory that all of them share.
    model = deepcopy(work.model).to(device)
    materials = repeated([prepare(reference, model) for reference in work.references], work.edges_per_step)
    validation = Validation(work.set_aside, model) if work.set_aside else None
    with joined(rank, n_processes, work.folder / MEETING, device) as ranks:
        trainer = Trainer(model, materials, work.recipe, work.folder, validation, work.note, ranks)
        log = TrainingLog(work.folder, trainer.step) if ranks.is_first else None
        trainer.run(None if log is None else lambda row: log.write(row, trainer.last_step), stop.is_set)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(EXIT_TERMINATED)
