"""The structures of a job one after another, each claimed before it is begun and committed when it is there.

What killed no process comes first, in batches where the task has them; then, one by one, what was in progress when a
process died, with the least memory if it was alone then; at last it is given up with a stated error.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ase import Atoms

from aiida_mlfc.exchange.arrays import write_arrays
from aiida_mlfc.exchange.job import structure_arrays
from aiida_mlfc.exchange.marks import History
from aiida_mlfc.exchange.names import ARRAYS_FILE
from aiida_mlfc.exchange.results import write_result
from aiida_mlfc.runner.claims import Claims
from aiida_mlfc.runner.out_of_memory import is_out_of_memory, let_go, stated
from aiida_mlfc.runner.outcome import Outcome, StepFailed, reason_of
from aiida_mlfc.runner.plan import Plan, say
from aiida_mlfc.runner.tasks import BATCHED_TASKS, JOINT_TASKS, TASKS

#: s; between looks at what another process is still computing
POLL = 0.5
#: of the free memory, for a structure that did not fit or killed a process: batches of one, no graph of a supercell
LEAST_MEMORY = 0.0
MIB = 2**20

Found = tuple[str, Outcome | Exception, float]


class Work:
    """The work of one process on a job.

    :param share: of the free memory that is this process's.
    """

    def __init__(self, plan: Plan, model: Any, claims: Claims, share: float = 1.0) -> None:
        self.plan, self.model, self.claims, self.share = plan, model, claims, share
        self.left = dict(plan.fingerprints)

    def joint(self) -> Iterator[Found]:
        """One thing made of all inputs."""
        plan = self.plan
        yield from JOINT_TASKS[plan.job.task](plan.folder, plan.job.structures, plan.read, plan.options)

    def untried(self) -> Iterator[Found]:
        """What nobody has and what killed nobody; what was only stopped comes after what was never begun."""
        plan = self.plan
        for stopped in (False, True):
            keys = self._taken(stopped)
            if plan.job.task in BATCHED_TASKS:
                with self._memory(self.share):
                    found = BATCHED_TASKS[plan.job.task](keys, plan.read, plan.options, self.model)
                    for key, outcome, seconds in found:
                        yield key, self._stated(outcome, 1), seconds
            else:
                for key in keys:
                    yield self._alone(key, self.share)

    def _taken(self, stopped: bool) -> Iterator[str]:
        alone = self.plan.job.task not in BATCHED_TASKS
        before = self.claims.histories()
        order = sorted(before, key=lambda key: (before[key] or History()).rank)
        for key in order if stopped else self.plan.fingerprints:
            if key in self.left and (key in before) is stopped and self.claims.claim(key, alone, untried=True):
                yield key

    def suspects(self) -> Iterator[Found]:
        """Everything else, the least suspicious first, until no process works on the job any more."""
        waited = False
        while self.left:
            histories = self.claims.histories()
            free = {}
            for key in list(self.left):
                history = histories.get(key, History())
                if self.claims.is_done(key):
                    del self.left[key]
                elif history is not None:
                    free[key] = history
            if not free:
                if self.left and not waited:
                    say(f'mlfc-run: waiting for {", ".join(self.left)}, which another process computes')
                    waited = True
                time.sleep(POLL if self.left else 0)
                continue
            key = min(free, key=lambda k: free[k].rank)
            if free[key].is_given_up:
                yield key, free[key].error(), 0.0
            elif self.claims.claim(key, alone=True):
                yield self._alone(key, LEAST_MEMORY if free[key].kills else self.share)

    def _alone(self, key: str, share: float) -> Found:
        """One structure by itself; with the least memory if memory was refused."""
        started = time.perf_counter()
        outcome = self._computed(key, share)
        n_tries = 1
        refused = _refused_memory(outcome)
        if refused is not None and share > LEAST_MEMORY and self.model is not None:
            say(f'mlfc-run: {key}: {refused}; tried again with the least memory')
            let_go(refused)
            outcome, n_tries = self._computed(key, LEAST_MEMORY), 2
        return key, self._stated(outcome, n_tries), time.perf_counter() - started

    def _computed(self, key: str, share: float) -> Outcome | Exception:
        plan = self.plan
        try:
            with self._memory(share):
                if plan.job.task in BATCHED_TASKS:
                    batch = BATCHED_TASKS[plan.job.task]([key], plan.read, plan.options, self.model)
                    return next(iter(batch))[1]
                return TASKS[plan.job.task](plan.read(key), plan.options, self.model)
        except Exception as error:  # noqa: BLE001 (one structure must not take the others with it; it is reported)
            return error

    def _memory(self, share: float) -> Any:
        if self.model is None:
            return nullcontext()
        from aiida_mlfc.core.potentials.derivatives.memory import memory_share

        return memory_share(share)

    def _stated(self, outcome: Outcome | Exception, n_tries: int) -> Outcome | Exception:
        refused = _refused_memory(outcome)
        if self.model is None or refused is None:
            return outcome
        let_go(refused)
        error = stated(refused, *memory_now(self.model.device), n_tries)
        error.__cause__ = refused
        if isinstance(outcome, StepFailed):
            return StepFailed(outcome.step, error, outcome.data, outcome.write_files)
        return error

    def commit(self, key: str, outcome: Outcome | Exception, seconds: float) -> dict[str, Any]:
        """Write the result of one structure, or what went wrong with it."""
        job = self.plan.job
        mark = self.plan.fingerprints[key]
        content: dict[str, Any] = {'name': job.structures[key], 'task': job.task, 'fingerprint': mark}
        write_files: Callable[[Path], None] | None = None
        if isinstance(outcome, Exception):
            failed, write_files = _failed(outcome)
            content |= failed
        else:
            data, write_files = outcome
            content |= {'status': 'ok', 'data': data}
        content['seconds'] = seconds
        write_result(self.plan.folder, key, content, write_files)
        self.left.pop(key, None)
        self.claims.release(key)
        return content


def _refused_memory(outcome: Outcome | Exception) -> Exception | None:
    """The error that refused memory, if that is what happened."""
    error = reason_of(outcome) if isinstance(outcome, Exception) else None
    return error if is_out_of_memory(error) else None


def _failed(outcome: Exception) -> tuple[dict[str, Any], Callable[[Path], None] | None]:
    """What is written of a failure: why, in which step, and what there is all the same."""
    error = reason_of(outcome)
    known = isinstance(error, (ValueError, RuntimeError, MemoryError)) and str(error)
    said = {
        'type': type(error).__name__,
        'message': str(error) if known else f'{type(error).__name__}: {error}',
        'traceback': ''.join(traceback.format_exception(error)),
    }
    content: dict[str, Any] = {'status': 'failed', 'error': said}
    write_before: Callable[[Path], None] | None = None
    if isinstance(outcome, StepFailed):
        said['step'], content['data'], write_before = outcome.step, outcome.data, outcome.write_files
    atoms = getattr(error, 'atoms', None)
    if not isinstance(atoms, Atoms):
        return content, write_before

    def write_files(path: Path) -> None:
        # where a relaxation stopped: another may go on from there
        write_arrays(path / ARRAYS_FILE, {'structure': structure_arrays(atoms)})

    return content, write_files


def memory_now(device: Any = None) -> tuple[float, float]:
    """Memory that this process had at most, and that can still be had, MiB."""
    import torch

    from aiida_mlfc.core.potentials.derivatives.memory import free_memory, peak_memory

    return peak_memory(), free_memory(device or torch.device('cpu')) / MIB
