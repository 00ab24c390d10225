"""``mlfc-run JOB_FOLDER``: computes structure by structure, keeps what it finished, restarts where it stopped.

Exit codes: 0 all structures done; 2 the job folder cannot be understood; 3 the potential cannot be loaded; 4 finished,
but some structures failed (each result says why); 5 results cannot be written (disk full?); 6 workers die before they
begin; 143 stopped by SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

# Before the first import that loads an OpenMP runtime, which reads it then: threads that wait sleep, instead of keeping
# cores busy that other processes of the node want. Workers inherit it. What the user has set stays.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')

from aiida_mlfc.exchange.job import JobFileError, check_workers
from aiida_mlfc.exchange.results import ResultError, read_result, remove_marks, write_summary
from aiida_mlfc.runner.claims import Claims
from aiida_mlfc.runner.exit_codes import EXIT_BAD_JOB, EXIT_CANNOT_WRITE, EXIT_SOME_FAILED, EXIT_TERMINATED
from aiida_mlfc.runner.outcome import Interrupted
from aiida_mlfc.runner.plan import STOPPED, Plan, Refused, read_plan, say
from aiida_mlfc.runner.stopping import end_with_parent, note_at_once
from aiida_mlfc.runner.tasks import JOINT_TASKS
from aiida_mlfc.runner.work import Found, Work, memory_now

#: ``whole``: everything, and the summary; a worker does what killed nobody (``untried``), or the rest (``suspects``)
Role = Literal['whole', 'untried', 'suspects']


#: signals that came: where a library drops the exception that ends the process, the next structure is not begun
_stop_asked: list[int] = []


def run_job(folder: Path, workers: int | str | None = None, role: Role = 'whole', share: float = 1.0) -> int:
    """Do what is not done yet.

    :param workers: number of processes, or ``auto``; None takes what the job says, which is this process by default.
    :param share: of the free memory that is this process's.
    :return: the exit code.
    """
    try:
        plan = read_plan(folder, forget=role == 'whole')
        n_done = len(plan.job.structures) - len(plan.fingerprints)
        if role == 'whole':
            say(f'mlfc-run: {plan.job.task}, {len(plan.job.structures)} structures, {n_done} done already')
        workers = plan.job.execution.get('workers') if workers is None else workers
        if role == 'whole' and workers is not None and plan.fingerprints and plan.job.task not in JOINT_TASKS:
            from aiida_mlfc.runner.workers import supervise

            code = supervise(plan, workers)
        else:
            code = _work(plan, role, share)
        if code == 0 and role == 'whole':
            code = _end(plan)
    except Refused as refused:
        say(f'mlfc-run: {refused}')
        return refused.code
    except Interrupted as stopped:
        say(f'{STOPPED}; {stopped}, run again to continue')
        return EXIT_TERMINATED
    except (OSError, ResultError) as error:
        say(
            f'mlfc-run: results cannot be written: {error}. What is in results/ is complete; '
            'run again when there is room'
        )
        return EXIT_CANNOT_WRITE
    return code


def _work(plan: Plan, role: Role, share: float) -> int:
    """The part of this process."""
    if not plan.fingerprints:
        return 0
    model = plan.load_model()
    memory = memory_now if model is not None else None
    started = time.perf_counter()
    with Claims(plan.folder, plan.fingerprints, memory) as claims:
        work = Work(plan, model, claims, share)
        for count, (key, outcome, seconds) in enumerate(_found(work, plan, role), start=1):
            content = work.commit(key, outcome, seconds)
            spent = time.perf_counter() - started
            left = max(len(plan.fingerprints) - count, 0)
            say(
                f'[{count}/{len(plan.fingerprints)}] {key} {content["status"]} {content["seconds"]:.1f} s, '
                f'{spent / count * left:.0f} s to go'
                + (f': {content["error"]["message"]}' if content['status'] == 'failed' else '')
            )
            if _stop_asked:
                sys.exit(EXIT_TERMINATED)
    return 0


def _found(work: Work, plan: Plan, role: Role) -> Iterator[Found]:
    if plan.job.task in JOINT_TASKS:
        yield from work.joint()
        return
    if role != 'suspects':
        yield from work.untried()
    if role != 'untried':
        yield from work.suspects()


def _end(plan: Plan) -> int:
    """The summary, which says that the job finished."""
    keys = list(plan.job.structures)
    failed = [key for key in keys if read_result(plan.folder, key)['status'] == 'failed']
    remove_marks(plan.folder)
    write_summary(plan.folder, {'task': plan.job.task, 'potential_sha256': plan.digest, 'keys': keys, 'failed': failed})
    return EXIT_SOME_FAILED if failed else 0


def _stop(signum: int, frame: Any) -> None:
    _stop_asked.append(signum)
    say(f'{STOPPED}; finished structures are kept, run again to do the rest')
    sys.exit(EXIT_TERMINATED)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the console script."""
    parser = argparse.ArgumentParser(
        prog='mlfc-run', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('job_folder', type=Path, help='folder with job.yaml, inputs/ and the potential')
    parser.add_argument(
        '--workers',
        help='number of processes, or auto: one for each GPU that is visible, or for each core; they take structures '
        'from the folder as they get done, and one that dies is replaced (by default, what job.yaml says, or this '
        'process alone)',
    )
    parser.add_argument('--role', default='whole', choices=('whole', 'untried', 'suspects'), help=argparse.SUPPRESS)
    parser.add_argument('--share', type=float, default=1.0, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _stop)
    note_at_once(given.job_folder)
    try:
        workers = check_workers(given.workers)
    except JobFileError as error:
        say(f'mlfc-run: {error}')
        sys.exit(EXIT_BAD_JOB)
    if given.role != 'whole':
        end_with_parent()
    sys.exit(run_job(given.job_folder, workers, given.role, given.share))


if __name__ == '__main__':
    main()
