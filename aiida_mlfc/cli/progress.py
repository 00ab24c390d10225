"""What a running screen is doing, live: which step, how many crystals are done, how long it takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

#: the jobs of a screen, and what people call what they count
_STEPS = {'PhononStepsCalculation': 'crystals'}
#: s
POLL_INTERVAL = 1.0
#: share of the time that may go into looking: the daemon wants the same database
_LOOKING = 0.05
#: asking the daemon costs a tenth of a second
POLLS_BETWEEN_CHECKS = 15


class _Counter:
    """Crystals done in each step; a job that ended is looked at once."""

    def __init__(self) -> None:
        self._ended: dict[int, int] = {}

    def counts(self, processes: list[Any]) -> dict[str, int]:
        """By process label, over all jobs that the processes called so far."""
        counts: dict[str, int] = {}
        for pk, label in _jobs([process.pk for process in processes]):
            if label in _STEPS:
                counts[label] = counts.get(label, 0) + self._finished_crystals(pk)
        return counts

    def _finished_crystals(self, pk: int) -> int:
        """From the outputs of a job when it ended, from its folder while it runs on this machine."""
        from aiida.orm import load_node

        if pk in self._ended:
            return self._ended[pk]
        job = load_node(pk)
        if job.is_terminated:
            found = job.base.links.get_outgoing(link_label_filter='output_parameters').all_nodes()
            self._ended[pk] = sum(len(node.get_dict()) for node in found)
            return self._ended[pk]
        workdir = job.get_remote_workdir()
        if workdir is None or job.computer.transport_type != 'core.local':
            return 0
        results = Path(workdir) / 'results'
        return sum(1 for path in results.iterdir() if not path.name.startswith('.')) if results.is_dir() else 0


def _jobs(pks: list[int]) -> list[tuple[int, str]]:
    """Primary key and label of every job of some screens: three calls below each."""
    from aiida.orm import CalcJobNode, QueryBuilder, WorkChainNode

    query = QueryBuilder()
    query.append(WorkChainNode, filters={'id': {'in': pks}}, tag='screen')
    query.append(WorkChainNode, with_incoming='screen', tag='shard')
    query.append(WorkChainNode, with_incoming='shard', tag='step')
    query.append(CalcJobNode, with_incoming='step', project=['id', 'attributes.process_label'])
    return query.all()


def watch(
    processes: list[Any],
    n_crystals: int,
    is_alive: Callable[[], bool],
    launch_next: Callable[[], Any] = lambda: None,
    concurrent: int = 1,
) -> None:
    """Show progress on stderr until all processes ended.

    :param processes: nodes of screens that were submitted.
    :param n_crystals: crystals in all of them, those included that are launched later.
    :param is_alive: whether somebody works on them; asked now and then.
    :param launch_next: submits another screen as soon as fewer than ``concurrent`` run; None when there is none left.
    :raises RuntimeError: if nobody works on them any more.
    """
    processes, counter = list(processes), _Counter()
    columns = (TextColumn('{task.description:16}'), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=False) as bar:
        tasks = {label: bar.add_task(text, total=n_crystals) for label, text in _STEPS.items()}
        polls = 0
        while True:
            started = time.monotonic()
            running = sum(not process.is_terminated for process in processes)
            while running < concurrent and (following := launch_next()) is not None:
                processes.append(following)
                running += 1
            for label, count in counter.counts(processes).items():
                bar.update(tasks[label], completed=min(count, n_crystals))
            if not running:
                return
            polls += 1
            if polls % POLLS_BETWEEN_CHECKS == 0 and not is_alive():
                raise RuntimeError('the daemon stopped; the same command starts it again and goes on')
            time.sleep(max(POLL_INTERVAL, (time.monotonic() - started) / _LOOKING))
