"""Who computes which structure: processes on one job folder take from it what nobody else has.

A claim is the creation of a file that must not exist yet, atomic on every file system. Its name counts the attempts, so
that taking over from a dead process creates the next one and nothing is ever absent in between.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event, RLock, Thread

from aiida_mlfc.exchange.marks import Attempt, History, of_fingerprint, read_marks, rewrite
from aiida_mlfc.exchange.names import RESULTS, RUNNING, check_key
from aiida_mlfc.exchange.results import is_done
from aiida_mlfc.runner.outcome import Interrupted
from aiida_mlfc.runner.owner import BEAT, is_alive, this_process


class Claims:
    """The claims of this process, and the marks of all others.

    :param folder: of the job.
    :param fingerprints: by key, of what is to be computed.
    :param memory: (used at most, could be had) in MiB, for the marks; None to say nothing.
    """

    def __init__(
        self,
        folder: Path,
        fingerprints: Mapping[str, str],
        memory: Callable[[], tuple[float, float]] | None = None,
    ) -> None:
        self.job, self.fingerprints, self.memory = folder, fingerprints, memory
        self.folder = folder / RESULTS / RUNNING
        self.me = this_process(folder)
        self.mine: dict[str, Path] = {}
        # A signal may end the process while it holds the lock; the end takes it once more.
        self._lock = RLock()
        self._stop = Event()

    def __enter__(self) -> Claims:
        # A daemon: a process that ends in the middle of a structure must not wait for it.
        Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._stop.set()
        # Anything else that ends the process here is as much the fault of what was in progress as a crash.
        if kind is None or issubclass(kind, (SystemExit, KeyboardInterrupt, OSError, Interrupted)):
            self.stopped()

    def is_done(self, key: str) -> bool:
        """Whether the result is there."""
        return is_done(self.job, key, self.fingerprints[key])

    def histories(self) -> dict[str, History | None]:
        """By key, what dead processes left behind; None where a living one, this included, is at work."""
        found: dict[str, History | None] = {}
        for key, marks in read_marks(self.folder, self.fingerprints).items():
            found[key] = None if self._is_busy(key, marks) else of_fingerprint(marks, self.fingerprints[key])
        return found

    def _is_busy(self, key: str, marks: Mapping[int, Attempt]) -> bool:
        """Whether a living process is at work on a structure, this one included."""
        newest = max(marks, default=-1)
        if not marks or marks[newest].ended:
            return False
        path = self.folder / f'{key}.{newest}'
        if marks[newest].owner == self.me:
            return self.mine.get(key) == path
        return is_alive(marks[newest].owner, self.me, path)

    def claim(self, key: str, alone: bool, untried: bool = False) -> bool:
        """Take a structure, unless somebody has it or finished it meanwhile.

        :param alone: this process does nothing else until it is done.
        :param untried: only if no process died of it.
        """
        marks = read_marks(self.folder, [check_key(key)]).get(key, {})
        newest = max(marks, default=-1)
        if self._is_busy(key, marks):
            return False
        if untried and any(not attempt.ended for attempt in of_fingerprint(marks, self.fingerprints[key]).attempts):
            return False
        limit = self.memory()[1] if self.memory else 0.0
        path = self.folder / f'{key}.{newest + 1}'
        attempt = Attempt(self.fingerprints[key], self.me, alone, limit=limit)
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        try:
            os.write(handle, attempt.text.encode())
        finally:
            os.close(handle)
        with self._lock:
            self.mine[key] = path
        # Somebody may have finished it between the last look and the claim.
        if self.is_done(key):
            self.release(key)
            return False
        return True

    def release(self, key: str) -> None:
        """Remove every mark of a structure whose result is there; one's own last, so that nobody comes in between."""
        with self._lock:
            self.mine.pop(key, None)
        numbers = read_marks(self.folder, [key]).get(key, {})
        for number in sorted(numbers):
            (self.folder / f'{key}.{number}').unlink(missing_ok=True)

    def stopped(self) -> None:
        """Say of everything in progress that it was stopped from outside: its structures are not to blame."""
        with self._lock:
            for key, path in self.mine.items():
                rewrite(path, Attempt(self.fingerprints[key], self.me, False, ended='stopped'))
            self.mine.clear()

    def _beat(self) -> None:
        while not self._stop.wait(BEAT):
            used, limit = self.memory() if self.memory else (0.0, 0.0)
            with self._lock:
                for path in self.mine.values():
                    attempt = Attempt.read(path)
                    if attempt is not None and attempt.owner == self.me:
                        now = vars(attempt) | {'peak_memory': max(used, attempt.peak_memory)}
                        rewrite(path, Attempt(**now | {'limit': attempt.limit or limit}))
