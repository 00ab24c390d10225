"""Being stopped from outside: written down at once, whatever native code is in the middle of.

Python's signal handlers wait until native code returns, perhaps longer than a scheduler waits between SIGTERM and
SIGKILL. The structure in progress would then look as if it had killed the process.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from threading import Thread

from aiida_mlfc.exchange.marks import note_stopped
from aiida_mlfc.exchange.names import RESULTS, RUNNING
from aiida_mlfc.runner.exit_codes import EXIT_TERMINATED
from aiida_mlfc.runner.owner import this_process

#: s; what a process has to end after it was told to
PATIENCE = 10.0


def note_at_once(folder: Path) -> None:
    """From now on, have the marks of this process say that it was stopped as soon as SIGTERM arrives.

    :param folder: of the job.
    """
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    # Written by the handler in C, before any handler in Python.
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)

    def watch() -> None:
        while numbers := os.read(readable, 64):
            if signal.SIGTERM in numbers:
                note_stopped(folder / RESULTS / RUNNING, this_process(folder))

    Thread(target=watch, daemon=True).start()


def end_with_parent() -> None:
    """Stop this process when the one that started it is gone: the pipe to it then ends."""

    def watch() -> None:
        # The descriptor itself: a reader of Python's that waits at the end of the process is fatal.
        while os.read(0, 64):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(PATIENCE)
        os._exit(EXIT_TERMINATED)

    Thread(target=watch, daemon=True).start()
