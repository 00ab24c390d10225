"""How a job can be ended from outside, said with the same exit codes by every work chain above it."""

from __future__ import annotations

from typing import Any

from aiida.engine import ExitCode

#: label: status, and what happened
ENDINGS = {
    'ERROR_OUT_OF_MEMORY': (421, 'out of memory'),
    'ERROR_OUT_OF_WALLTIME': (422, 'out of walltime'),
    'ERROR_STOPPED': (423, 'cancelled or stopped from outside'),
    'ERROR_NODE_FAILURE': (424, 'the node was lost'),
}
#: scheduler exit codes of CalcJob, by the ending they mean
_SCHEDULER = {110: 'ERROR_OUT_OF_MEMORY', 120: 'ERROR_OUT_OF_WALLTIME', 140: 'ERROR_NODE_FAILURE'}


def define_endings(spec: Any, what: str) -> None:
    """Exit codes for all of them.

    :param what: the beginning of the message.
    """
    for label, (status, said) in ENDINGS.items():
        spec.exit_code(status, label, message=f'{what}: {said}.')


def because(code: ExitCode, why: str) -> ExitCode:
    """An exit code with a reason added to its message."""
    return ExitCode(code.status, f'{code.message} {why}', code.invalidates_cache)


def ending_of(status: int | None, codes: Any) -> str | None:
    """The label of the ending that an exit status of a job means, None if it means another thing.

    :param codes: exit codes of the calculation.
    """
    if status == codes.ERROR_JOB_STOPPED.status:
        return 'ERROR_STOPPED'
    return _SCHEDULER.get(status or 0)


def ending_with(status: int | None) -> str | None:
    """The label of the ending with an exit status of a work chain."""
    return next((label for label, (number, _) in ENDINGS.items() if number == status), None)
