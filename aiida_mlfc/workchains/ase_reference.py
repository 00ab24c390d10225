"""``mlfc.ase_reference``: force constants from displaced cells by any ASE calculator (GPAW, EMT...), in one process."""

from __future__ import annotations

from typing import Any

import ase
import numpy as np
from aiida.engine import ExitCode, ProcessBuilder
from aiida.orm import Dict, Float, List, StructureData

from aiida_mlfc.calculations.ase_forces import ase_forces
from aiida_mlfc.core.structures.supercells import supercell_for_length
from aiida_mlfc.data.references import NOT_STATED
from aiida_mlfc.workchains.dft_reference_base import PRISTINE, ReferenceWorkChain, primitive_matrix_of
from aiida_mlfc.workchains.protocol import protocol_inputs


class AseReferenceWorkChain(ReferenceWorkChain):
    """The same contract as ``mlfc.dft_reference``, without jobs: forces are computed where the work chain runs."""

    @classmethod
    def define(cls, spec: Any) -> None:
        """Inputs and outline."""
        super().define(spec)
        spec.input('calculator', valid_type=Dict, help='module, name and arguments of an ASE calculator.')
        spec.outline(
            cls.setup,
            cls.displace,
            cls.run_supercells,
            cls.run_forces,
            cls.inspect_forces,
            cls.run_results,
        )

    @classmethod
    def get_builder_from_protocol(
        cls,
        structure: StructureData,
        calculator: dict[str, Any],
        protocol: str | None = None,
        overrides: dict[str, Any] | None = None,
        functional: str = NOT_STATED,
    ) -> ProcessBuilder:
        """A builder with everything filled in.

        :param calculator: ``{'module': 'ase.calculators.emt', 'name': 'EMT', 'arguments': {}}``.
        :param protocol: of ``dft_reference``: supercell, displacement, symmetry, largest residual force.
        :param overrides: laid over the protocol; also ``supercell_matrix``.
        :param functional: what the calculator stands for, kept with the force constants.
        """
        overrides = dict(overrides or {})
        matrix = overrides.pop('supercell_matrix', None)
        inputs = protocol_inputs('dft_reference', protocol, overrides)
        supercell = np.asarray(
            supercell_for_length(structure.get_ase(), inputs['supercell_length']) if matrix is None else matrix
        )
        builder = cls.get_builder()
        builder.structure = structure
        builder.supercell_matrix = List((np.diag(supercell) if supercell.shape == (3,) else supercell).tolist())
        builder.primitive_matrix = List(primitive_matrix_of(structure, inputs['symprec']))
        builder.symmetry_tolerance = Float(inputs['symprec'])
        builder.displacement_generator = Dict({'distance': float(inputs['distance'])})
        builder.max_residual_force = Float(inputs['max_residual_force'])
        builder.calculator = Dict(calculator)
        builder.information = Dict({'functional': functional})
        return builder

    def run_forces(self) -> ExitCode | None:
        """The undisplaced cell first, then all displaced ones."""
        forces = ase_forces(calculator=self.inputs.calculator, supercell_0=self.ctx.pristine)
        self.ctx.forces = dict(forces)
        if refused := self.refuse_residual_forces(forces[PRISTINE]):
            return refused
        self.ctx.forces.update(ase_forces(calculator=self.inputs.calculator, **dict(self.ctx.supercells)))
        return None

    def inspect_forces(self) -> None:
        """Hand them out."""
        for key, node in self.ctx.forces.items():
            if key != PRISTINE:
                self.out(f'supercells_forces.{key}', node)

    def engine_information(self) -> dict[str, Any]:
        """The calculator, and the time it took."""
        calculator = self.inputs.calculator.get_dict()
        return {
            'code': f'{calculator["module"]}.{calculator["name"]}, ASE {ase.__version__}',
            'functional': NOT_STATED,
            'licence': 'own computation',
            'seconds': sum(node.base.attributes.get('seconds') for node in self.ctx.forces.values()),
        }
