"""``mlfc.phonon_steps``: from crystals to their phonons in one job, one crystal after another."""

from __future__ import annotations

from typing import Any

from aiida.engine import CalcJobProcessSpec
from aiida.orm import StructureData

from aiida_mlfc.calculations.force_constants import ForceConstantsCalculation
from aiida_mlfc.calculations.relax import RELAXED, UNCONVERGED
from aiida_mlfc.data.phonons import OUTPUTS


class PhononStepsCalculation(ForceConstantsCalculation):
    """Relaxation, force constants and phonons of a namespace of structures.

    What a crystal costs AiiDA are its links to every process that has it, and every process reads and writes all of
    its inputs at each step: one job instead of three, and one wait in the queue.
    """

    TASK = 'phonon_steps'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Structures (and Born charges) in; relaxed structures, force constants and phonons out."""
        super().define(spec)
        spec.inputs['parameters'].help = (
            'Options of the steps under their names: relax, force_constants, phonons; without relax the structures are '
            'taken as they are. See runner.options.'
        )
        for name, said in ((RELAXED, 'Relaxed structures'), (UNCONVERGED, 'Where the last relaxation stopped')):
            spec.output_namespace(
                name, valid_type=StructureData, dynamic=True, required=False, help=f'{said}, by key.'
            )
        for name, kind in OUTPUTS.items():
            spec.output_namespace(name, valid_type=kind, dynamic=True)
        spec.inputs['metadata']['options']['parser_name'].default = 'mlfc.phonon_steps'

    def job_options(self) -> dict[str, Any]:
        """Options of the steps."""
        return {name: options for name, options in super().job_options().items() if options is not None}
