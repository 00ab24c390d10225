"""A process with inputs and outputs for each of many crystals, which AiiDA would link one by one."""

from __future__ import annotations

from aiida.common.links import LinkType, validate_link_label
from aiida.engine import Process
from aiida.orm import Data, WorkflowNode
from aiida.orm.utils.links import LinkTriple

from aiida_mlfc.data.bulk import create_many, return_many


class ManyCrystals(Process):
    """Base of a process with inputs and outputs for each crystal; it stands after AiiDA's own class."""

    def _setup_inputs(self) -> None:
        """As AiiDA's: links to a process that is not stored yet. Nothing can be linked twice, and no circle can be."""
        kind = LinkType.INPUT_WORK if isinstance(self.node, WorkflowNode) else LinkType.INPUT_CALC
        if self.node.is_stored:
            super()._setup_inputs()
            return
        for label, node in self._flat_inputs().items():
            if node is None:
                continue
            if not isinstance(node, Data):
                raise ValueError(f'input {label}: got {node!r}, wanted a data node')
            validate_link_label(label)
            self.node.base.links.incoming_cache.append(LinkTriple(node, kind, label))

    def update_outputs(self) -> None:
        """As AiiDA's, with few statements."""
        outputs = self._flat_outputs()
        if not outputs or self.metadata.store_provenance is False:
            return
        if isinstance(self.node, WorkflowNode):
            return_many(self.node, outputs)
        else:
            create_many(self.node, outputs)
