"""``mlfc.force_constants``: exact force constants of many crystals with one potential."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida.engine import CalcJobProcessSpec
from aiida.orm import ArrayData, StructureData
from aiida_phonopy.data import ForceConstantsData

from aiida_mlfc.calculations.base import MlfcCalculation, validate_keys
from aiida_mlfc.core.units import COULOMB_EV_ANGSTROM
from aiida_mlfc.exchange.job import structure_arrays


class ForceConstantsCalculation(MlfcCalculation):
    """Force constants of a namespace of structures."""

    TASK = 'force_constants'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Structures (and Born charges) in, aiida-phonopy's ForceConstantsData out."""
        super().define(spec)
        spec.input_namespace('structures', valid_type=StructureData, dynamic=True, validator=validate_keys)
        spec.input_namespace(
            'nac_params',
            valid_type=ArrayData,
            dynamic=True,
            required=False,
            help='By key, arrays born (n_prim, 3, 3) and dielectric (3, 3); not every crystal needs one.',
        )
        spec.output_namespace(
            'output_force_constants',
            valid_type=ForceConstantsData,
            dynamic=True,
            help='Compact force constants by key, eV/Å².',
        )
        spec.inputs['metadata']['options']['parser_name'].default = 'mlfc.force_constants'

    def crystal_input(self, key: str) -> dict[str, Any]:
        """The structure, and its Born charges if there are any."""
        values: dict[str, Any] = {'structure': structure_arrays(self.inputs.structures[key].get_ase())}
        nac = self.inputs.get('nac_params', {}).get(key)
        if nac is not None:
            values['nac_params'] = {
                'born': np.asarray(nac.get_array('born')),
                'dielectric': np.asarray(nac.get_array('dielectric')),
                'factor': COULOMB_EV_ANGSTROM,
            }
        return values
