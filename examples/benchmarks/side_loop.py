"""One side of a comparison: a process that has imported its package once and forks a fresh child for each measurement.

A request is a line of JSON on stdin, ``{"task": NAME, "arguments": {...}, "repeats": N, "keep": FILE}``; the reply is
one on stdout, ``{"seconds": {PART: s}, "memory": MiB, "resident": MiB, "facts": {...}}``. A task prepares itself (loads
the crystal, warms up), then gives back the function that is measured. Nothing here imports ours or the peer's package.

Time is CPU time of the process, one thread, so that a busy machine changes it little. Memory is the largest resident
set during the first call minus the one just before it, glibc's free heap handed back; ``resident`` is that set itself.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

STATUS, CLEAR_REFS = Path('/proc/self/status'), Path('/proc/self/clear_refs')
#: what the kernel wants to read to forget the largest resident set, see proc(5)
FORGET_PEAK = '5'
MIB = 1024.0
#: marks the lines of stdout that are replies
REPLY = 'reply '

Result = dict[str, Any]
Measured = Callable[[], Result]
Task = Callable[..., Measured]
clock = time.process_time


class Laps:
    """Seconds since the start at named points."""

    def __init__(self) -> None:
        self._started = clock()
        self.seconds: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """CPU seconds since the last lap."""
        now = clock()
        self.seconds[name] = now - self._started
        self._started = now


def resident(which: str) -> float:
    """``VmRSS`` or ``VmHWM`` of this process, MiB."""
    for line in STATUS.read_text(encoding='ascii').splitlines():
        if line.startswith(which):
            return int(line.split()[1]) / MIB
    raise RuntimeError(f'{STATUS} has no {which}; the benchmark measures memory on Linux only')


def measure(task: Task, arguments: dict[str, Any], repeats: int, keep: str | None) -> dict[str, Any]:
    """Run a task; the best seconds of each part over the repeats, the memory of the first."""
    measured = task(**arguments)
    # What the preparation gave back may still be held by malloc; it would hide what the call takes.
    ctypes.CDLL(None).malloc_trim(0)
    before = resident('VmRSS')
    CLEAR_REFS.write_text(FORGET_PEAK, encoding='ascii')
    best: dict[str, float] = {}
    for k in range(repeats):
        started = clock()
        result = measured()
        seconds = {'all': clock() - started, **result.get('seconds', {})}
        best = {name: min(value, best.get(name, value)) for name, value in seconds.items()}
        if k == 0:
            peak = resident('VmHWM')
    if keep is not None:
        np.savez(keep, **result['arrays'])
    return {'seconds': best, 'memory': peak - before, 'resident': peak, 'facts': result.get('facts', {})}


def serve(tasks: dict[str, Task]) -> None:
    """Answer requests until stdin ends."""
    replies = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)  # what the packages print must not mix with the replies
    replies.write(REPLY + json.dumps({'ready': sorted(tasks)}) + '\n')
    replies.flush()
    for line in sys.stdin:
        request = json.loads(line)
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                reply = measure(tasks[request['task']], request['arguments'], request['repeats'], request.get('keep'))
            except BaseException:  # noqa: BLE001 (the parent must hear of everything)
                reply = {'error': traceback.format_exc()}
            with os.fdopen(write_end, 'w') as pipe:
                pipe.write(json.dumps(reply))
            os._exit(0)
        os.close(write_end)
        with os.fdopen(read_end) as pipe:
            text = pipe.read()
        _, status = os.waitpid(child, 0)
        replies.write(REPLY + (text or json.dumps({'error': f'the process ended with status {status}'})) + '\n')
        replies.flush()
