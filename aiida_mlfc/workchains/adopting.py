"""A work chain that was killed between submitting a child and writing that down takes the child back.

AiiDA repeats the step of a process from its last checkpoint. A child that was submitted in that step exists twice then,
and the first one computes for nobody. Children are told apart by their call link labels, which are unique in each of
our work chains.
"""

from __future__ import annotations

from typing import Any

from aiida.engine import Process
from aiida.orm import ProcessNode, QueryBuilder


class AdoptsChildren:
    """Mixed into a work chain, before AiiDA's own class."""

    def submit(self, process: type[Process], inputs: dict[str, Any] | None = None, **kwargs: Any) -> ProcessNode:
        """As :meth:`aiida.engine.Process.submit`, unless the same child is there from before a crash."""
        this: Any = self
        metadata = {**(inputs or {}), **kwargs}.get('metadata', {})
        child = _earlier_child(this.node.pk, metadata.get('call_link_label', ''), process.build_process_type())
        if child is None:
            return super().submit(process, inputs, **kwargs)  # type: ignore[misc]
        this.report(f'{child.process_label}<{child.pk}> was submitted before a crash; it goes on')
        never_ran = child.process_state is not None and child.process_state.value == 'created'
        if never_ran and this.runner.controller is not None:
            # It may have no task. If it has one, the second is dropped by the worker that runs it.
            this.runner.controller.continue_process(child.pk, nowait=False, no_reply=True)
        return child


def _earlier_child(pk: int, label: str, process_type: str) -> ProcessNode | None:
    """The child with this label that finished or can still be continued."""
    if not label:
        return None
    query = QueryBuilder()
    query.append(ProcessNode, filters={'id': pk}, tag='parent')
    query.append(
        ProcessNode,
        with_incoming='parent',
        edge_filters={'label': label},
        filters={'process_type': process_type},
        project='*',
    )
    for child in query.all(flat=True):
        if child.is_finished or (not child.is_terminated and child.checkpoint is not None):
            return child
    return None
