"""``mlfc.relax``: relax many crystals with one potential, space groups kept."""

from __future__ import annotations

from typing import Any

from aiida.engine import CalcJobProcessSpec
from aiida.orm import StructureData

from aiida_mlfc.calculations.base import MlfcCalculation, validate_keys
from aiida_mlfc.exchange.job import structure_arrays

#: outputs
RELAXED, UNCONVERGED = 'output_structures', 'output_unconverged'


class RelaxCalculation(MlfcCalculation):
    """Relax a namespace of structures."""

    TASK = 'relax'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Structures in, relaxed structures out."""
        super().define(spec)
        spec.input_namespace('structures', valid_type=StructureData, dynamic=True, validator=validate_keys)
        spec.input_namespace(
            'origins',
            valid_type=StructureData,
            dynamic=True,
            required=False,
            help='By key, where a relaxation began that is continued here; displacements count from there.',
        )
        spec.output_namespace(
            UNCONVERGED,
            valid_type=StructureData,
            dynamic=True,
            required=False,
            help='By key, where a relaxation stood that did not reach its goal; another may go on from there.',
        )
        spec.output_namespace(
            RELAXED,
            valid_type=StructureData,
            dynamic=True,
            help='Relaxed structures by key, same order of sites.',
        )
        spec.inputs['metadata']['options']['parser_name'].default = 'mlfc.relax'

    def crystal_input(self, key: str) -> dict[str, Any]:
        """The structure, and the origin if it has another one."""
        found = {'structure': structure_arrays(self.inputs.structures[key].get_ase())}
        if key in self.inputs.get('origins', {}):
            found['origin'] = structure_arrays(self.inputs.origins[key].get_ase())
        return found
