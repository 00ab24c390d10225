"""What a running screen is doing, live: which step, how many crystals are done, how long it takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

#: the jobs of a screen in their order, and what people call them
_STEPS = {
    'RelaxCalculation': 'relaxing',
    'ForceConstantsCalculation': 'force constants',
    'PhononsCalculation': 'phonons',
}
#: s
POLL_INTERVAL = 1.0
#: asking the daemon costs a tenth of a second
POLLS_BETWEEN_CHECKS = 15


def _finished_crystals(job: Any) -> int:
    """Crystals done in a job: from its outputs when it ended, from its folder while it runs on this machine."""
    if 'output_parameters' in job.outputs:
        return len(job.outputs.output_parameters.get_dict())
    workdir = job.get_remote_workdir()
    if workdir is None or job.computer.transport_type != 'core.local':
        return 0
    results = Path(workdir) / 'results'
    return sum(1 for path in results.iterdir() if not path.name.startswith('.')) if results.is_dir() else 0


def watch(processes: list[Any], n_crystals: int, is_alive: Callable[[], bool]) -> None:
    """Show progress on stderr until all processes ended.

    :param processes: nodes of screens that were submitted.
    :param n_crystals: crystals in all of them.
    :param is_alive: whether somebody works on them; asked now and then.
    :raises RuntimeError: if nobody does any more.
    """
    from aiida.orm import CalcJobNode

    columns = (TextColumn('{task.description:16}'), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=False) as bar:
        tasks = {label: bar.add_task(text, total=n_crystals, start=False) for label, text in _STEPS.items()}
        polls = 0
        while True:
            ended = all(process.is_terminated for process in processes)
            counts = dict.fromkeys(_STEPS, 0)
            for job in (j for p in processes for j in p.called_descendants if isinstance(j, CalcJobNode)):
                label = job.process_label
                if label in counts:
                    bar.start_task(tasks[label])
                    counts[label] += _finished_crystals(job)
            for label, count in counts.items():
                bar.update(tasks[label], completed=min(count, n_crystals))
            if ended:
                return
            polls += 1
            if polls % POLLS_BETWEEN_CHECKS == 0 and not is_alive():
                raise RuntimeError('the daemon stopped; the same command starts it again and goes on')
            time.sleep(POLL_INTERVAL)
