"""What a task gives back for one structure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


class Interrupted(Exception):
    """A task stopped because it was told to, and kept what another run needs to continue; the message says what."""


#: content of ``result.json``, and a function that writes the other files
Outcome = tuple[dict[str, Any], Callable[[Path], None]]


class StepFailed(Exception):
    """One of several steps failed.

    :param step: its name.
    :param error: why.
    :param data: of the steps before it, by step.
    :param write_files: writes what they made.
    """

    def __init__(self, step: str, error: Exception, data: dict[str, Any], write_files: Callable[[Path], None]) -> None:
        super().__init__(str(error))
        self.step, self.error, self.data, self.write_files = step, error, data, write_files


def reason_of(error: Exception) -> Exception:
    """What went wrong, whatever step it was in."""
    return error.error if isinstance(error, StepFailed) else error
