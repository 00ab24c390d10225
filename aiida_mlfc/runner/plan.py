"""What a job folder asks for, read and checked, and what of it is there already."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiida_mlfc.core.checkpoint_header import CheckpointError, sha256_of
from aiida_mlfc.core.printable import printable
from aiida_mlfc.exchange.job import Job, JobFileError, fingerprint, read_input, read_job
from aiida_mlfc.exchange.names import RESULTS, SUMMARY_FILE
from aiida_mlfc.exchange.results import ResultError, check_results, forget_result, is_done
from aiida_mlfc.runner.exit_codes import EXIT_BAD_JOB, EXIT_BAD_POTENTIAL, EXIT_CANNOT_WRITE
from aiida_mlfc.runner.options import read_options
from aiida_mlfc.runner.tasks import JOINT_TASKS

#: how the line begins that a job stopped by its scheduler leaves
STOPPED = 'mlfc-run: stopped by SIGTERM'


class Refused(Exception):
    """The job cannot be done at all.

    :param code: exit code of ``mlfc-run``.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Plan:
    """A job that was understood.

    :param fingerprints: of the structures that are not done yet, by key.
    :param digest: sha256 of the potential.
    """

    folder: Path
    job: Job
    options: Any
    digest: str | None
    fingerprints: dict[str, str] = field(default_factory=dict)

    def read(self, key: str) -> dict[str, Any]:
        """The input of one structure."""
        return read_input(self.folder, key)

    def load_model(self) -> Any:
        """The potential; None for a task that needs none.

        :raises Refused: if it cannot be loaded.
        """
        if self.job.potential is None:
            return None
        from aiida_mlfc.core.potentials.registry import load_potential

        try:
            return load_potential(self.folder / self.job.potential, self.options.dtype, self.options.device)
        except (CheckpointError, ValueError, RuntimeError, MemoryError) as error:
            raise Refused(EXIT_BAD_POTENTIAL, f'potential: {error}') from error


def read_plan(folder: Path, forget: bool = False) -> Plan:
    """Read the job, and find what of it is to be done.

    :param forget: remove the results that are not of this job: those that it says are not to be believed, those of
        another potential, other options or another structure, and the summary of a job that was done. Whoever looks
        at what a job that was interrupted left behind must not find them.
    :raises Refused: if it cannot be understood, or its potential is not there.
    """
    try:
        job = read_job(folder)
        options = read_options(job.task, job.options)
        check_results(folder)
    except (JobFileError, ResultError) as error:
        raise Refused(EXIT_BAD_JOB, str(error)) from error
    digest = None
    try:
        if job.potential is not None:
            if not (folder / job.potential).is_file():
                raise FileNotFoundError(f'there is no file {job.potential} in the job folder')
            digest = sha256_of(folder / job.potential)
    except OSError as error:
        raise Refused(EXIT_BAD_POTENTIAL, f'potential: {error}') from error
    pending = {}
    try:
        for key in job.execution.get('again', []) if forget else ():
            forget_result(folder, key)
    except OSError as error:
        raise Refused(EXIT_CANNOT_WRITE, f'results: {error}') from error
    for key in job.structures:
        try:
            mark = fingerprint(folder, job, key, digest)
        except OSError as error:
            raise Refused(EXIT_BAD_JOB, f'input of {key}: {error}') from error
        # what all inputs make together is kept by the task itself
        if job.task in JOINT_TASKS or not is_done(folder, key, mark):
            pending[key] = mark
    if forget:
        _forget_others(folder, pending)
    return Plan(folder, job, options, digest, pending)


def _forget_others(folder: Path, pending: dict[str, str]) -> None:
    """Remove what is there of structures that are to be computed, unless it is of exactly this job.

    :raises Refused: if it cannot be removed.
    """
    try:
        for key, mark in pending.items():
            # Nothing is touched where nothing is: another process on this folder may be putting its result there.
            if os.path.lexists(folder / RESULTS / key) and not is_done(folder, key, mark):
                forget_result(folder, key)
        if pending:
            (folder / SUMMARY_FILE).unlink(missing_ok=True)
    except OSError as error:
        raise Refused(EXIT_CANNOT_WRITE, f'results: {error}') from error


def say(message: str) -> None:
    """One line on stderr, at once."""
    # Nobody listening is no reason to stop.
    with suppress(BrokenPipeError):
        print(printable(message), file=sys.stderr, flush=True)
