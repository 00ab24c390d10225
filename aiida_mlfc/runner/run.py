"""``mlfc-run JOB_FOLDER``: computes structure by structure, keeps what it finished, restarts where it stopped.

Exit codes: 0 all structures done; 2 the job folder cannot be understood; 3 the potential cannot be loaded; 4 finished,
but some structures failed (each result says why); 5 results cannot be written (disk full?); 143 stopped by SIGTERM.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from aiida_mlfc.core.checkpoint_header import CheckpointError, sha256_of
from aiida_mlfc.exchange.job import Job, JobFileError, fingerprint, read_input, read_job
from aiida_mlfc.exchange.results import is_done, read_result, write_result, write_summary
from aiida_mlfc.runner.options import read_options
from aiida_mlfc.runner.outcome import Interrupted, Outcome
from aiida_mlfc.runner.tasks import BATCHED_TASKS, JOINT_TASKS, TASKS

EXIT_BAD_JOB, EXIT_BAD_POTENTIAL, EXIT_SOME_FAILED, EXIT_CANNOT_WRITE, EXIT_TERMINATED = 2, 3, 4, 5, 143
#: how the line begins that a job stopped by its scheduler leaves
STOPPED = 'mlfc-run: stopped by SIGTERM'


def say(message: str) -> None:
    """One line on stderr, at once."""
    print(message, file=sys.stderr, flush=True)


def run_job(folder: Path) -> int:
    """Do what is not done yet.

    :return: the exit code.
    """
    try:
        job = read_job(folder)
        options = read_options(job.task, job.options)
    except JobFileError as error:
        say(f'mlfc-run: {error}')
        return EXIT_BAD_JOB
    model, digest = None, None
    try:
        if job.potential is not None:
            digest = sha256_of(folder / job.potential)
    except OSError as error:
        say(f'mlfc-run: potential: {error}')
        return EXIT_BAD_POTENTIAL
    pending = {}
    for key in job.structures:
        try:
            mark = fingerprint(folder, job, key, digest)
        except OSError as error:
            say(f'mlfc-run: input of {key}: {error}')
            return EXIT_BAD_JOB
        # what all inputs make together is kept by the task itself
        if job.task in JOINT_TASKS or not is_done(folder, key, mark):
            pending[key] = mark
    say(f'mlfc-run: {job.task}, {len(job.structures)} structures, {len(job.structures) - len(pending)} done already')
    if pending and job.potential is not None:
        from aiida_mlfc.core.potentials.registry import load_potential

        try:
            model = load_potential(folder / job.potential, options.dtype, options.device)
        except (CheckpointError, ValueError, RuntimeError) as error:
            say(f'mlfc-run: potential: {error}')
            return EXIT_BAD_POTENTIAL
    try:
        started = time.perf_counter()
        for count, (key, outcome, seconds) in enumerate(_outcomes(folder, job, pending, options, model), start=1):
            content = _commit(folder, job, key, pending[key], outcome, seconds)
            spent = time.perf_counter() - started
            say(
                f'[{count}/{len(pending)}] {key} {content["status"]} {content["seconds"]:.1f} s, '
                f'{spent / count * (len(pending) - count):.0f} s to go'
                + (f': {content["error"]["message"]}' if content['status'] == 'failed' else '')
            )
        failed = [key for key in job.structures if read_result(folder, key)['status'] == 'failed']
        write_summary(
            folder, {'task': job.task, 'potential_sha256': digest, 'keys': list(job.structures), 'failed': failed}
        )
    except Interrupted as stopped:
        say(f'{STOPPED}; {stopped}, run again to continue')
        return EXIT_TERMINATED
    except OSError as error:
        say(
            f'mlfc-run: results cannot be written: {error}. What is in results/ is complete; '
            'run again when there is room'
        )
        return EXIT_CANNOT_WRITE
    return EXIT_SOME_FAILED if failed else 0


def _outcomes(
    folder: Path, job: Job, keys: Iterable[str], options: Any, model: Any
) -> Iterator[tuple[str, Outcome | Exception, float]]:
    """Key, outcome and seconds of each structure; whatever goes wrong with one stays with it."""
    if job.task in JOINT_TASKS:
        yield from JOINT_TASKS[job.task](folder, job.structures, lambda key: read_input(folder, key), options)
        return
    if job.task in BATCHED_TASKS:
        yield from BATCHED_TASKS[job.task](keys, lambda key: read_input(folder, key), options, model)
        return
    for key in keys:
        started = time.perf_counter()
        outcome: Outcome | Exception
        try:
            outcome = TASKS[job.task](read_input(folder, key), options, model)
        except Exception as error:  # noqa: BLE001 (one structure must not take the others with it; it is reported)
            outcome = error
        yield key, outcome, time.perf_counter() - started


def _commit(
    folder: Path, job: Job, key: str, mark: str, outcome: Outcome | Exception, seconds: float
) -> dict[str, Any]:
    """Write the result of one structure, or what went wrong with it."""
    content: dict[str, Any] = {'name': job.structures[key], 'task': job.task, 'fingerprint': mark}
    write_files = None
    if isinstance(outcome, Exception):
        known = isinstance(outcome, (ValueError, RuntimeError, MemoryError)) and str(outcome)
        message = str(outcome) if known else f'{type(outcome).__name__}: {outcome}'
        trace = ''.join(traceback.format_exception(outcome))
        content |= {
            'status': 'failed',
            'error': {'type': type(outcome).__name__, 'message': message, 'traceback': trace},
        }
    else:
        data, write_files = outcome
        content |= {'status': 'ok', 'data': data}
    content['seconds'] = seconds
    write_result(folder, key, content, write_files)
    return content


def _stop(signum: int, frame: Any) -> None:
    say(f'{STOPPED}; finished structures are kept, run again to do the rest')
    sys.exit(EXIT_TERMINATED)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the console script."""
    parser = argparse.ArgumentParser(
        prog='mlfc-run', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('job_folder', type=Path, help='folder with job.yaml, inputs/ and the potential')
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(run_job(parser.parse_args(arguments).job_folder))


if __name__ == '__main__':
    main()
