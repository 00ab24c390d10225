"""How the jobs of a work chain are run, said once for all of them: scheduler options, and processes in a job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def set_job_options(calculations: Iterable[Any], options: Mapping[str, Any] | None) -> None:
    """The same options for every job.

    :param calculations: input namespaces of the calculations, of a builder.
    :param options: ``metadata.options`` of the jobs, and ``workers``: processes in a job, a number or ``auto``, which
        is an input of the calculation and no option of AiiDA's.
    """
    scheduler = dict(options or {})
    workers = scheduler.pop('workers', None)
    for inputs in calculations:
        if workers is not None:
            inputs.workers = workers
        if scheduler:
            inputs.metadata.options = dict(scheduler)
