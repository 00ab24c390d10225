"""``mlfc.displace``: imaginary modes of many crystals, and the crystals displaced along them."""

from __future__ import annotations

from typing import Any

from aiida.engine import CalcJobProcessSpec
from aiida.orm import StructureData

from aiida_mlfc.calculations.base import MlfcCalculation, validate_keys
from aiida_mlfc.exchange.job import structure_arrays


class DisplaceCalculation(MlfcCalculation):
    """Displace a namespace of structures along their imaginary modes."""

    TASK = 'displace'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Primitive cells in, displaced supercells out; output_parameters hold the modes and what belongs to which."""
        super().define(spec)
        spec.input_namespace('structures', valid_type=StructureData, dynamic=True, validator=validate_keys)
        spec.output_namespace(
            'displaced_structures',
            valid_type=StructureData,
            dynamic=True,
            required=False,
            help='By the keys of crystal and distortion, KEY_m0d0; none of a crystal without imaginary modes.',
        )
        spec.inputs['metadata']['options']['parser_name'].default = 'mlfc.displace'

    def crystal_input(self, key: str) -> dict[str, Any]:
        """The structure."""
        return {'structure': structure_arrays(self.inputs.structures[key].get_ase())}
