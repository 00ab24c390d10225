"""``mlfc.phonons``: bands, DOS, thermal properties and stability of many sets of force constants, on the node."""

from __future__ import annotations

from typing import Any

from aiida.engine import CalcJobProcessSpec
from aiida_phonopy.data import ForceConstantsData

from aiida_mlfc.calculations.base import MlfcCalculation, validate_keys
from aiida_mlfc.data.force_constants import phonon_inputs
from aiida_mlfc.data.phonons import OUTPUTS


class PhononsCalculation(MlfcCalculation):
    """Phonons of a namespace of force constants; whoever made them."""

    TASK = 'phonons'
    CRYSTALS = 'force_constants'
    NEEDS_POTENTIAL = False

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Force constants in, bands, DOS, thermal properties and stability out."""
        super().define(spec)
        spec.input_namespace('force_constants', valid_type=ForceConstantsData, dynamic=True, validator=validate_keys)
        for name, kind in OUTPUTS.items():
            spec.output_namespace(name, valid_type=kind, dynamic=True)
        spec.inputs['metadata']['options']['parser_name'].default = 'mlfc.phonons'

    def crystal_input(self, key: str) -> dict[str, Any]:
        """Force constants with their cells and Born charges."""
        return phonon_inputs(self.inputs.force_constants[key])
