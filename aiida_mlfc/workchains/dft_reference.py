"""``mlfc.dft_reference``: force constants from displaced cells by Quantum ESPRESSO, on aiida-phonopy's contract."""

from __future__ import annotations

from typing import Any

from aiida.common import AttributeDict
from aiida.engine import ExitCode, ProcessBuilder, ToContext, if_, while_
from aiida.orm import ArrayData, CalcJobNode, Float, KpointsData, List, StructureData

from aiida_mlfc.calculations.references import forces_of_trajectory, kpoints_for_distance, nac_of_ph, relaxation_kpoints
from aiida_mlfc.data.references import NOT_STATED, common_functional
from aiida_mlfc.workchains.dft_reference_base import ReferenceWorkChain
from aiida_mlfc.workchains.dft_reference_builder import fill_reference_builder

try:
    from aiida_quantumespresso.workflows.ph.base import PhBaseWorkChain
    from aiida_quantumespresso.workflows.pw.base import PwBaseWorkChain
    from aiida_quantumespresso.workflows.pw.relax import PwRelaxWorkChain
    from qe_tools import CONSTANTS
except ImportError as error:
    raise ImportError(
        'mlfc.dft_reference stands on aiida-quantumespresso, which is not installed: pip install "aiida-mlfc[dft]"'
    ) from error

#: call link labels, and keys in the context
FORCES, PRISTINE_RUN, BORN_SCF, BORN = 'forces', 'pristine', 'born_scf', 'born'
DEFAULT_CONCURRENT = 4


def settings_used(system: dict[str, Any], output: dict[str, Any]) -> dict[str, Any]:
    """``cutoffs``, Ry, and ``occupations``: as given, and where nothing was given as pw.x says that it took them.

    :param system: namelist SYSTEM of the input.
    :param output: ``output_parameters`` of the run.
    """
    cutoffs = {key: system[key] for key in ('ecutwfc', 'ecutrho') if key in system}
    if 'ecutrho' not in cutoffs and 'rho_cutoff' in output:
        cutoffs['ecutrho'] = round(output['rho_cutoff'] / CONSTANTS.ry_to_ev, 6)
    return {'cutoffs': cutoffs, 'occupations': system.get('occupations', output.get('occupations', NOT_STATED))}


class DftReferenceWorkChain(ReferenceWorkChain):
    """Force constants of one crystal by Quantum ESPRESSO, Born charges on request; restarts belong to ``PwBase``."""

    @classmethod
    def define(cls, spec: Any) -> None:
        """Inputs, outline, outputs."""
        super().define(spec)
        spec.expose_inputs(
            PwRelaxWorkChain,
            namespace='relax',
            exclude=('structure', 'clean_workdir', 'base_init_relax'),
            namespace_options={
                'required': False,
                'populate_defaults': False,
                'help': 'Leave out to take the structure as it is.',
            },
        )
        spec.expose_inputs(
            PwBaseWorkChain,
            namespace='scf',
            exclude=('pw.structure', 'pw.parent_folder', 'clean_workdir', 'kpoints', 'kpoints_distance'),
        )
        spec.expose_inputs(
            PhBaseWorkChain,
            namespace='ph',
            exclude=('ph.parent_folder', 'clean_workdir', 'qpoints', 'qpoints_distance', 'qpoints_force_parity'),
            namespace_options={
                'required': False,
                'populate_defaults': False,
                'help': 'Give it to compute Born charges and the dielectric tensor of the primitive cell.',
            },
        )
        spec.input('kpoints', valid_type=KpointsData, required=False, help='Mesh of the supercell.')
        spec.input(
            'kpoints_distance', valid_type=Float, help='1/Å; meshes of all cells follow from it, unless one is given.'
        )
        spec.input(
            'kpoints_offset', valid_type=List, default=lambda: List([0.0, 0.0, 0.0]), help='0 or 0.5 along each vector.'
        )
        spec.input(
            'max_concurrent',
            valid_type=int,
            non_db=True,
            default=DEFAULT_CONCURRENT,
            help='Displaced cells that run at the same time.',
        )
        spec.outline(
            cls.setup,
            if_(cls.should_relax)(cls.run_relax, cls.inspect_relax),
            cls.displace,
            cls.run_supercells,
            cls.run_pristine,
            cls.inspect_pristine,
            while_(cls.has_supercells)(cls.run_forces),
            cls.inspect_forces,
            if_(cls.should_run_born)(cls.run_born_scf, cls.run_born, cls.inspect_born),
            cls.run_results,
            if_(cls.should_run_phonopy)(cls.run_phonopy, cls.inspect_phonopy),
        )
        spec.output('output_structure', valid_type=StructureData, required=False, help='The relaxed structure.')
        spec.output('nac_parameters', valid_type=ArrayData, required=False)
        spec.exit_code(402, 'ERROR_CHILD_FAILED', message='{step}: {label}<{pk}> failed with exit status {status}.')

    @classmethod
    def get_builder_from_protocol(cls, code: Any, structure: StructureData, **keywords: Any) -> ProcessBuilder:
        """A builder with everything filled in; see :func:`~.dft_reference_builder.fill_reference_builder`."""
        builder = cls.get_builder()
        fill_reference_builder(builder, code, structure, **keywords)
        return builder

    def should_relax(self) -> bool:
        """Whether relaxation is asked for."""
        return 'relax' in self.inputs

    def run_relax(self) -> ToContext:
        """Positions, and the cell if the inputs say so; on the k-points of the supercell unless they name others."""
        inputs = AttributeDict(self.exposed_inputs(PwRelaxWorkChain, 'relax'))
        inputs.structure = self.ctx.structure
        if inputs.base_relax.get('kpoints_distance', None) == self.inputs.kpoints_distance:
            inputs.base_relax.pop('kpoints_distance')
            given = {'kpoints': self.inputs.kpoints} if 'kpoints' in self.inputs else {}
            inputs.base_relax.kpoints = relaxation_kpoints(
                structure=self.ctx.structure,
                supercell_matrix=self.inputs.supercell_matrix,
                distance=self.inputs.kpoints_distance,
                offset=self.inputs.kpoints_offset,
                **given,
            )
        return self._submit(PwRelaxWorkChain, inputs, 'relax')

    def inspect_relax(self) -> ExitCode | None:
        """Go on with the relaxed structure."""
        if failure := self._failure(self.ctx.relax, 'relaxation'):
            return failure
        self.ctx.structure = self.ctx.relax.outputs.output_structure
        self.out('output_structure', self.ctx.structure)
        return None

    def _scf_inputs(self, structure: StructureData, kpoints: KpointsData) -> AttributeDict:
        inputs = AttributeDict(self.exposed_inputs(PwBaseWorkChain, 'scf'))
        inputs.pw.structure = structure
        inputs.kpoints = kpoints
        return inputs

    def run_pristine(self) -> ToContext:
        """Forces of the undisplaced supercell come first: if they are large, nothing else is worth computing."""
        self.ctx.kpoints = self.inputs.get('kpoints', None) or kpoints_for_distance(
            self.ctx.pristine, self.inputs.kpoints_distance, self.inputs.kpoints_offset
        )
        return self._submit(PwBaseWorkChain, self._scf_inputs(self.ctx.pristine, self.ctx.kpoints), PRISTINE_RUN)

    def inspect_pristine(self) -> ExitCode | None:
        """Refuse a structure that is not at rest."""
        if failure := self._failure(self.ctx[PRISTINE_RUN], 'undisplaced cell'):
            return failure
        return self.refuse_residual_forces(forces_of_trajectory(self.ctx[PRISTINE_RUN].outputs.output_trajectory))

    def has_supercells(self) -> bool:
        """Whether any displaced cell waits."""
        return bool(self.ctx.supercells)

    def run_forces(self) -> ToContext:
        """The next displaced cells, as many as may run at once."""
        count = max(1, self.inputs.max_concurrent)
        now, self.ctx.supercells = self.ctx.supercells[:count], self.ctx.supercells[count:]
        running = ToContext()
        for key, cell in now:
            label = key.replace('supercell', FORCES)
            running.update(self._submit(PwBaseWorkChain, self._scf_inputs(cell, self.ctx.kpoints), label))
        return running

    def _displaced_runs(self) -> dict[str, Any]:
        return {label: child for label, child in self.ctx.items() if label.startswith(f'{FORCES}_')}

    def inspect_forces(self) -> ExitCode | None:
        """All displaced cells or none: force constants from a part of them would be wrong."""
        for label, child in self._displaced_runs().items():
            if failure := self._failure(child, label):
                return failure
            self.out(f'supercells_forces.{label}', forces_of_trajectory(child.outputs.output_trajectory))
        return None

    def should_run_born(self) -> bool:
        """Whether Born charges are to be computed."""
        return 'ph' in self.inputs

    def run_born_scf(self) -> ToContext:
        """The ground state of the primitive cell."""
        primitive = self.ctx.preprocess_data.calcfunctions.get_primitive_cell()
        kpoints = kpoints_for_distance(primitive, self.inputs.kpoints_distance, self.inputs.kpoints_offset)
        return self._submit(PwBaseWorkChain, self._scf_inputs(primitive, kpoints), BORN_SCF)

    def run_born(self) -> ToContext | ExitCode:
        """Its response to an electric field."""
        if failure := self._failure(self.ctx[BORN_SCF], 'ground state for Born charges'):
            return failure
        inputs = AttributeDict(self.exposed_inputs(PhBaseWorkChain, 'ph'))
        inputs.ph.parent_folder = self.ctx[BORN_SCF].outputs.remote_folder
        inputs.qpoints = KpointsData()
        inputs.qpoints.set_kpoints_mesh([1, 1, 1])
        return self._submit(PhBaseWorkChain, inputs, BORN)

    def inspect_born(self) -> ExitCode | None:
        """Keep them."""
        if failure := self._failure(self.ctx[BORN], 'Born charges'):
            return failure
        self.ctx.nac_parameters = nac_of_ph(self.ctx[BORN].outputs.output_parameters)
        self.out('nac_parameters', self.ctx.nac_parameters)
        return None

    def nac_parameters(self) -> ArrayData | None:
        """Computed ones go before given ones."""
        return self.ctx.get('nac_parameters', None) or super().nac_parameters()

    def engine_information(self) -> dict[str, Any]:
        """Program, functional, pseudopotentials and settings, from what was run."""
        parameters = self.ctx[PRISTINE_RUN].outputs.output_parameters.get_dict()
        system = self.inputs.scf.pw.parameters.get_dict()['SYSTEM']
        jobs = [node for node in self.node.called_descendants if isinstance(node, CalcJobNode)]
        mesh, offset = self.ctx.kpoints.get_kpoints_mesh()
        return {
            'code': ' '.join(parameters[key] for key in ('creator_name', 'creator_version') if key in parameters),
            'functional': common_functional(self.inputs.scf.pw.pseudos),
            'licence': 'own computation',
            'pseudos': {kind: [upf.filename, upf.md5] for kind, upf in self.inputs.scf.pw.pseudos.items()},
            **settings_used(system, parameters),
            'kpoints': {'mesh': list(mesh), 'offset': list(offset)},
            # of all pw.x and ph.x runs
            'seconds': sum(job.outputs.output_parameters.get_dict().get('wall_time_seconds', 0.0) for job in jobs),
        }

    def _submit(self, process: Any, inputs: AttributeDict, label: str) -> ToContext:
        inputs.metadata = {**inputs.get('metadata', {}), 'call_link_label': label}
        running = self.submit(process, **inputs)
        self.report(f'{label}: {process.__name__}<{running.pk}>')
        return ToContext(**{label: running})

    def _failure(self, child: Any, step: str) -> ExitCode | None:
        if child.is_finished_ok:
            return None
        return self.exit_codes.ERROR_CHILD_FAILED.format(
            step=step, label=child.process_label, pk=child.pk, status=child.exit_status
        )
