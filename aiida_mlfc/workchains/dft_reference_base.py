"""What every force engine of a reference shares: exact symmetry, residual forces, force constants with their origin."""

from __future__ import annotations

from abc import ABCMeta
from typing import Any, ClassVar

import numpy as np
from aiida.engine import ExitCode
from aiida.orm import ArrayData, Dict, Float, StructureData
from aiida_phonopy.data import PreProcessData
from aiida_phonopy.workflows.phonopy import PhonopyWorkChain

from aiida_mlfc.calculations.references import (
    displaced_cells,
    reference_force_constants,
    reference_force_set,
    symmetrized_structure,
)
from aiida_mlfc.core.structures.cells import to_phonopy
from aiida_mlfc.workchains.adopting import AdoptsChildren

#: the pristine supercell under the name by which aiida-phonopy knows its forces
PRISTINE = 'forces_0'


def primitive_matrix_of(structure: StructureData, symprec: float) -> list[list[float]]:
    """phonopy's primitive matrix of a structure.

    :param symprec: Å.
    """
    from phonopy.structure.cells import guess_primitive_matrix

    return np.asarray(guess_primitive_matrix(to_phonopy(structure.get_ase()), symprec=symprec), dtype=float).tolist()


class ReferenceWorkChain(AdoptsChildren, PhonopyWorkChain, metaclass=ABCMeta):
    """Base of the engines; a subclass says how forces are computed, and calls :meth:`refuse_residual_forces`."""

    #: aiida-phonopy's validator takes a float for ``is_plusminus`` and refuses the bool that phonopy means
    _ENABLED_DISPLACEMENT_GENERATOR_FLAGS: ClassVar[dict[str, list[Any]]] = {
        'distance': [float],
        'is_plusminus': ['auto', bool],
        'is_diagonal': [bool],
        'is_trigonal': [bool],
    }

    @classmethod
    def define(cls, spec: Any) -> None:
        """Inputs, outputs and exit codes common to all."""
        super().define(spec)
        spec.inputs.pop('preprocess_data')
        spec.inputs.pop('is_symmetry')
        for name in ('structure', 'supercell_matrix', 'primitive_matrix'):
            spec.inputs[name].required = True
        spec.inputs['symmetry_tolerance'].default = lambda: Float(1e-4)
        spec.inputs['displacement_generator'].default = lambda: Dict({'distance': 0.01})
        spec.inputs['displacement_generator'].validator = cls.validate_displacements
        spec.inputs.validator = None
        spec.input(
            'max_residual_force',
            valid_type=Float,
            default=lambda: Float(1e-3),
            help='eV/Å; with larger forces on the undisplaced cell there is no harmonic crystal to speak of.',
        )
        spec.input(
            'information',
            valid_type=Dict,
            default=lambda: Dict({}),
            help='What is kept with the force constants beside what the engine says itself: licence, source.',
        )
        spec.exit_code(
            410,
            'ERROR_RESIDUAL_FORCES',
            message='Forces on the undisplaced cell reach {got:.2e} eV/Å, wanted at most {limit:.2e}: relax the '
            'structure, or raise max_residual_force.',
        )

    @classmethod
    def validate_displacements(cls, node: Dict | None, port: Any) -> str | None:
        """Displacements of single atoms only: random ones of all atoms need another fit than phonopy's own."""
        if node is None:
            return None
        allowed = cls._ENABLED_DISPLACEMENT_GENERATOR_FLAGS
        if unknown := set(node.get_dict()) - set(allowed):
            return f'displacement_generator: got {", ".join(sorted(unknown))}, wanted only {", ".join(allowed)}'
        return cls._validate_displacements(node, port)

    def setup(self) -> None:
        """Start from the structure as given."""
        self.ctx.structure = self.inputs.structure

    def displace(self) -> None:
        """Exact symmetry, then the supercells."""
        structure: StructureData = symmetrized_structure(self.ctx.structure, self.inputs.symmetry_tolerance)
        self.ctx.preprocess_data: PreProcessData = displaced_cells(
            structure,
            self.inputs.supercell_matrix,
            self.inputs.primitive_matrix,
            self.inputs.symmetry_tolerance,
            self.inputs.displacement_generator,
        )
        self.ctx.pristine = self.ctx.preprocess_data.calcfunctions.get_supercell()

    def refuse_residual_forces(self, forces: ArrayData) -> ExitCode | None:
        """Hand out the forces of the undisplaced cell; an exit code if they are too large.

        :param forces: array ``forces``, shape ``(n_super, 3)``, eV/Å.
        """
        self.out(f'supercells_forces.{PRISTINE}', forces)
        got, limit = float(np.abs(forces.get_array('forces')).max()), self.inputs.max_residual_force.value
        self.report(f'largest residual force {got:.2e} eV/Å')
        if got > limit:
            return self.exit_codes.ERROR_RESIDUAL_FORCES.format(got=got, limit=limit)
        return None

    def nac_parameters(self) -> ArrayData | None:
        """Born charges and dielectric tensor: given, or computed on the way."""
        return self.inputs.get('nac_parameters', None)

    def engine_information(self) -> dict[str, Any]:
        """What the engine knows about the result: ``code``, ``functional``, ``seconds``..."""
        raise NotImplementedError(f'{type(self).__name__} must say where its forces come from')

    def run_results(self) -> None:
        """Forces to force constants."""
        extra = {'nac_parameters': nac} if (nac := self.nac_parameters()) is not None else {}
        said = {
            'name': self.inputs.structure.label,
            'source': f'{self.node.process_label} {self.node.uuid}',
            **self.engine_information(),
            **self.inputs.information.get_dict(),
        }
        information = Dict({key: value for key, value in said.items() if value != ''}).store()
        self.ctx.phonopy_data = reference_force_set(
            preprocess_data=self.ctx.preprocess_data,
            information=information,
            **self.outputs['supercells_forces'],
            **extra,
        )
        self.out('phonopy_data', self.ctx.phonopy_data)
        self.out('force_constants', reference_force_constants(self.ctx.phonopy_data, information))
