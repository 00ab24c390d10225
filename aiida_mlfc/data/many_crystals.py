"""A process with inputs and outputs for each of many crystals, which AiiDA would link, read and write one by one."""

from __future__ import annotations

from typing import Any

from aiida.common.links import LinkType, validate_link_label
from aiida.engine import Process
from aiida.orm import Data, WorkflowNode
from aiida.orm.utils.links import LinkTriple

from aiida_mlfc.data.bulk import create_many, return_many
from aiida_mlfc.data.reading import nodes_in, read_again


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
        # AiiDA asks each of them twice whether it is stored
        read_again(triple.node for triple in self.node.base.links.incoming_cache)

    def update_outputs(self) -> None:
        """As AiiDA's, with few statements."""
        outputs = self._flat_outputs()
        if not outputs or self.metadata.store_provenance is False:
            return
        read_again(outputs.values())
        if isinstance(self.node, WorkflowNode):
            return_many(self.node, outputs)
        else:
            create_many(self.node, outputs)

    def _save_checkpoint(self) -> None:
        """As AiiDA's, which writes down the UUID of every node in context and outputs."""
        read_again(nodes_in([getattr(self, '_context', None), self.outputs]))
        super()._save_checkpoint()

    def encode_input_args(self, inputs: dict[str, Any]) -> str:
        """As AiiDA's; inputs are the same in all checkpoints of a process, and are written down in the first one."""
        if inputs is not self.inputs and inputs is not self.raw_inputs:
            return super().encode_input_args(inputs)
        known: list[tuple[Any, str]] = self.__dict__.setdefault('_encoded_inputs', [])
        for given, text in known:
            if given is inputs:
                return text
        read_again(nodes_in(inputs))
        known.append((inputs, super().encode_input_args(inputs)))
        return known[-1][1]
