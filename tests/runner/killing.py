"""Kills processes in the middle of a structure, as the kernel does when memory is out: from outside, with SIGKILL.

Processes come from a server that has torch in memory already: a start takes no time, and each is as fresh as any.
"""

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from threading import Event, Thread


class Killer:
    """Kills every process below a folder whose marks say that it is in the middle of one of ``keys``.

    :param folder: of a job, or of many.
    :param times: kills of each key, after which it is left alone.
    """

    def __init__(self, folder: Path, keys: Iterable[str], times: int = 1000, signum: int = signal.SIGKILL) -> None:
        self.folder, self.keys, self.times, self.signum = folder, set(keys), times, signum
        self.kills: list[tuple[str, int]] = []
        self._stop = Event()
        self._thread = Thread(target=self._watch, daemon=True)

    def __enter__(self) -> 'Killer':
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _marks(self) -> list[Path]:
        try:
            return list(self.folder.rglob('.running/[A-Za-z]*.*'))
        except OSError:
            return []  # a folder went away while it was read

    def _watch(self) -> None:
        while not self._stop.is_set():
            for path in self._marks():
                key = path.name.partition('.')[0]
                if key not in self.keys or sum(k == key for k, _ in self.kills) >= self.times:
                    continue
                try:
                    mark = json.loads(path.read_text())
                    pid = mark['owner']['pid']
                    if pid == os.getpid() or mark['ended'] or (key, pid) in self.kills:
                        continue
                    if mark['owner']['folder'] != str(path.parents[2]):
                        continue  # a copy: its process is gone
                    os.kill(pid, self.signum)
                    self.kills.append((key, pid))
                except (OSError, ValueError, KeyError):
                    continue
            time.sleep(0.002)


_SERVER = multiprocessing.get_context('forkserver')
_SERVER.set_forkserver_preload(
    ['aiida_mlfc.runner.run', 'aiida_mlfc.core.potentials.registry', 'aiida_mlfc.runner.force_constants']
)


def _main(folder: str, log: str) -> None:
    from aiida_mlfc.runner.run import main

    sys.stderr = open(log, 'a')  # noqa: SIM115 (it ends with the process)
    main([folder])


def run(folder: Path) -> tuple[int, str]:
    """``mlfc-run`` in a process of its own.

    :return: exit code, minus the signal that killed it, and what it said.
    """
    log = folder / 'stderr'
    log.write_text('')
    process = _SERVER.Process(target=_main, args=(str(folder), str(log)))
    process.start()
    process.join(120)
    assert process.exitcode is not None
    return process.exitcode, log.read_text()


def wait_for_step(folder, step, process):
    """Until a state with more steps than ``step`` is on disk."""
    import torch

    state = folder / 'training' / 'training_state.pt'
    for _ in range(1200):
        assert process.poll() is None, process.stderr.read().decode()
        if state.exists() and torch.load(state, weights_only=True)['step'] > step:
            return
        time.sleep(0.05)
    raise AssertionError('no state after a minute')
