"""Several processes on one job folder: started, watched, replaced when they die; nothing of the work itself is here.

First all of them compute what killed nobody; then one alone tries what was in progress when a process died, so that a
structure that needs all the memory of the machine has it, and one that kills for other reasons hits no other.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from threading import Lock, Thread
from typing import IO

from aiida_mlfc.exchange.marks import read_marks, rewrite
from aiida_mlfc.exchange.names import RESULTS, RUNNING
from aiida_mlfc.exchange.results import is_done
from aiida_mlfc.runner.claims import Claims
from aiida_mlfc.runner.exit_codes import EXIT_BAD_JOB, EXIT_TERMINATED, EXIT_WORKERS_DIED
from aiida_mlfc.runner.plan import STOPPED, Plan, Refused, say
from aiida_mlfc.runner.slots import VISIBLE, Slot, slots
from aiida_mlfc.runner.stopping import PATIENCE
from aiida_mlfc.runner.work import Work

#: deaths in a row of processes that had begun nothing, after which there is no use in starting another
MAX_EARLY_DEATHS = 3
#: s; between looks at the workers
POLL = 0.05


def supervise(plan: Plan, workers: int | str) -> int:
    """Have a job done by workers.

    :param workers: how many, or ``auto``.
    :return: 0, or the exit code with which a worker gave up.
    :raises Refused: if there is no place for them.
    """
    try:
        places = slots(workers, getattr(plan.options, 'device', 'cpu'), len(plan.fingerprints))
    except ValueError as error:
        raise Refused(EXIT_BAD_JOB, str(error)) from error
    crew = Crew(plan)
    try:
        say(f'mlfc-run: {len(places)} worker(s): {", ".join(place.where for place in places)}')
        return crew.work('untried', places) or crew.work('suspects', _one(places))
    finally:
        crew.stop()


def _one(places: list[Slot]) -> list[Slot]:
    """All cores for one, or the first GPU."""
    if VISIBLE in places[0].environment:
        return places[:1]
    cores = sum(int(place.environment['OMP_NUM_THREADS']) for place in places)
    return [Slot(0, dict.fromkeys(places[0].environment, str(cores)))]


def share_of(place: Slot, places: list[Slot]) -> float:
    """The part of the free memory of its device that one worker of several may count on."""
    gpu = place.environment.get(VISIBLE)
    return 1 / sum(other.environment.get(VISIBLE) == gpu for other in places)


class Crew:
    """Processes of one job."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.running: dict[subprocess.Popen[str], Slot] = {}
        self.readers: list[Thread] = []
        self.started = time.perf_counter()
        self.n_told, self.n_at_death, self.early_deaths = 0, 0, 0
        self._lock = Lock()

    def work(self, role: str, places: list[Slot]) -> int:
        """Keep a worker at each place until nothing is left for this role.

        :return: 0, or an exit code that ends the job.
        """
        if not self._left():
            return 0
        for place in places:
            self._start(place, role, share_of(place, places))
        while self.running:
            for process in [p for p in self.running if p.poll() is not None]:
                place = self.running.pop(process)
                code = process.returncode
                if code == EXIT_TERMINATED or code == -signal.SIGTERM:
                    # Whoever stops one of them means the job.
                    say(f'{STOPPED}; finished structures are kept, run again to do the rest')
                    return EXIT_TERMINATED
                if code > 0 and not self._blame(process, code):
                    return code
                if code < 0 and not self._blame(process, code):
                    return EXIT_WORKERS_DIED
                if code != 0 and self._left():
                    self._start(place, role, share_of(place, places))
            time.sleep(POLL)
        for reader in self.readers:
            reader.join()
        return 0

    def _left(self) -> bool:
        """Whether there is anything to compute; what is to be given up is said to be here, without a worker."""
        plan = self.plan
        claims = Claims(plan.folder, plan.fingerprints)
        for key, history in claims.histories().items():
            if history is not None and history.is_given_up and not claims.is_done(key):
                error = Work(plan, None, claims).commit(key, history.error(), 0.0)['error']
                self._tell_one(f'{key} failed 0.0', f': {error["message"]}')
        return not all(is_done(plan.folder, key, mark) for key, mark in plan.fingerprints.items())

    def _start(self, place: Slot, role: str, share: float) -> None:
        # -P: the working directory may be the job folder, and nothing in it is to be imported.
        command = [sys.executable, '-P', '-m', 'aiida_mlfc.runner.run', str(self.plan.folder.resolve())]
        process = subprocess.Popen(
            [*command, '--role', role, '--share', str(share)],
            env={**os.environ, **place.environment},
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors='replace',
        )
        self.running[process] = place
        assert process.stderr is not None
        reader = Thread(target=self._tell, args=(process.stderr, place), daemon=True)
        reader.start()
        self.readers.append(reader)

    def _tell(self, stream: IO[str], place: Slot) -> None:
        """Hand on what a worker says; its progress counts for all."""
        for line in stream:
            line = line.rstrip('\n')
            if line.startswith('[') and '] ' in line:
                key, _, rest = line.partition('] ')[2].partition(' s, ')
                self._tell_one(key, f' (worker {place.number}){rest.partition(" s to go")[2]}')
            elif line:
                say(line)

    def _tell_one(self, key: str, more: str) -> None:
        """One structure is done."""
        with self._lock:
            self.n_told += 1
            total, spent = len(self.plan.fingerprints), time.perf_counter() - self.started
            left = spent / self.n_told * max(total - self.n_told, 0)
            say(f'[{self.n_told}/{total}] {key} s, {left:.0f} s to go{more}')

    def _blame(self, process: subprocess.Popen[str], code: int) -> bool:
        """Note in the marks of a dead worker what killed it.

        :return: whether it makes sense to start another one.
        """
        folder = self.plan.folder / RESULTS / RUNNING
        names = []
        for key, marks in read_marks(folder, self.plan.fingerprints).items():
            newest = max(marks)
            if marks[newest].owner.get('pid') == process.pid and not marks[newest].ended:
                names.append(key)
                rewrite(folder / f'{key}.{newest}', replace(marks[newest], signum=max(0, -code)))
        how = f'killed by {_name(-code)}' if code < 0 else f'ended with exit code {code}'
        say(f'mlfc-run: a worker was {how} in the middle of {", ".join(names) or "nothing"}')
        # Between two structures: that is bad luck, unless nothing gets done any more.
        self.early_deaths = 0 if names or self.n_told > self.n_at_death else self.early_deaths + 1
        self.n_at_death = self.n_told
        return bool(names) or (code < 0 and self.early_deaths < MAX_EARLY_DEATHS)

    def stop(self) -> None:
        """End what still runs: by asking, then by force."""
        for process in self.running:
            process.terminate()
        deadline = time.monotonic() + PATIENCE
        for process in self.running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.running.clear()


def _name(signum: int) -> str:
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f'signal {signum}'
