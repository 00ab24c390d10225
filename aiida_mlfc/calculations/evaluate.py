"""``mlfc.evaluate``: energy, forces, stress and gradients of the energy of many crystals with one potential."""

from __future__ import annotations

from typing import Any

from aiida.engine import CalcJobProcessSpec
from aiida.orm import ArrayData, StructureData

from aiida_mlfc.calculations.base import MlfcCalculation, validate_keys
from aiida_mlfc.exchange.job import structure_arrays


class EvaluateCalculation(MlfcCalculation):
    """Evaluate a namespace of structures as they are."""

    TASK = 'evaluate'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Structures in, arrays out."""
        super().define(spec)
        spec.input_namespace('structures', valid_type=StructureData, dynamic=True, validator=validate_keys)
        spec.output_namespace(
            'output_evaluations',
            valid_type=ArrayData,
            dynamic=True,
            help='By key: energy (eV), forces (n_atoms, 3) and gradient_positions in eV/Å, stress (3, 3) in GPa, '
            'gradient_lattice (3, 3) at fixed Cartesian positions in eV/Å, gradient_atom_types (n_atoms, n_species) in '
            'eV, species (n_species,), with elastic: true in parameters elastic_constants (6, 6) in GPa; see '
            'aiida_mlfc.data.evaluation.',
        )
        spec.inputs['metadata']['options']['parser_name'].default = 'mlfc.evaluate'

    def crystal_input(self, key: str) -> dict[str, Any]:
        """The structure."""
        return {'structure': structure_arrays(self.inputs.structures[key].get_ase())}
