"""``mlfc.phonon``: relax -> force constants -> phonons and stability, for a namespace of crystals at once."""

from __future__ import annotations

from typing import Any

from aiida.common import AttributeDict
from aiida.engine import ExitCode, ProcessBuilder, ToContext, WorkChain, if_
from aiida.orm import ArrayData, Dict, StructureData

from aiida_mlfc.calculations.base import validate_keys
from aiida_mlfc.core.printable import printable
from aiida_mlfc.data.many_crystals import ManyCrystals
from aiida_mlfc.data.phonons import OUTPUTS
from aiida_mlfc.data.potential import PotentialData
from aiida_mlfc.workchains.adopting import AdoptsChildren
from aiida_mlfc.workchains.endings import because, define_endings, ending_with
from aiida_mlfc.workchains.job_options import set_job_options
from aiida_mlfc.workchains.protocol import protocol_inputs
from aiida_mlfc.workchains.restart import NAMESPACE, ForceConstantsWorkChain, PhononsWorkChain, RelaxWorkChain
from aiida_mlfc.workchains.second_look import SecondLook

#: characters of a reason in an exit message
_LONGEST_REASON = 300
RELAXED, FORCE_CONSTANTS = 'output_structures', 'output_force_constants'


def _excluded(*ports: str) -> tuple[str, ...]:
    """Ports of a calculation that the work chain fills in itself."""
    return tuple(f'{NAMESPACE}.{port}' for port in ports)


def fill_builder(
    builder: ProcessBuilder,
    code: Any,
    potential: PotentialData,
    protocol: str | None,
    overrides: dict[str, Any] | None,
    options: dict[str, Any] | None,
    relax: bool,
    nac_params: dict[str, ArrayData] | None,
) -> None:
    """Set potential, codes and parameters of the three steps; see ``get_builder_from_protocol``."""
    from aiida.orm import load_code

    inputs = protocol_inputs('phonon', protocol, overrides)
    code = load_code(code) if isinstance(code, str) else code
    builder.potential = potential
    if nac_params:
        builder.nac_params = nac_params
    for name in ('relax', 'force_constants', 'phonons'):
        if name == 'relax' and not relax:
            builder.pop('relax')
            continue
        step = getattr(builder, name)[NAMESPACE]
        step.code = code
        step.parameters = Dict(inputs[name]['parameters'])
        set_job_options([step], options)


class PhononWorkChain(SecondLook, AdoptsChildren, WorkChain, ManyCrystals):
    """Phonons of one or many crystals with one potential; three jobs whatever their number."""

    @classmethod
    def define(cls, spec: Any) -> None:
        """Inputs, outline, outputs."""
        super().define(spec)
        spec.input_namespace('structures', valid_type=StructureData, dynamic=True, validator=validate_keys)
        spec.input('potential', valid_type=PotentialData)
        spec.input_namespace('nac_params', valid_type=ArrayData, dynamic=True, required=False)
        spec.input(
            'look_again',
            valid_type=bool,
            non_db=True,
            default=False,
            help='Compute crystals once more whose imaginary modes are smaller than noise floor and truncation error '
            'together: relaxed further, in the supercell that its truncation error asks for.',
        )
        spec.expose_inputs(
            RelaxWorkChain,
            namespace='relax',
            exclude=_excluded('structures', 'potential', 'parent_folder'),
            namespace_options={
                'required': False,
                'populate_defaults': False,
                'help': 'Leave out to take the structures as they are.',
            },
        )
        spec.expose_inputs(
            ForceConstantsWorkChain,
            namespace='force_constants',
            exclude=_excluded('structures', 'potential', 'nac_params', 'parent_folder'),
        )
        spec.expose_inputs(PhononsWorkChain, namespace='phonons', exclude=_excluded('force_constants', 'parent_folder'))
        spec.outline(
            cls.setup,
            if_(cls.should_relax)(cls.run_relax, cls.inspect_relax),
            if_(cls.has_structures)(
                cls.run_force_constants,
                cls.inspect_force_constants,
                if_(cls.has_force_constants)(cls.run_phonons, cls.inspect_phonons),
            ),
            if_(cls.should_look_again)(cls.look_again, cls.inspect_second_look),
            cls.results,
        )
        spec.output_namespace(
            'output_doubts',
            valid_type=Dict,
            dynamic=True,
            help='By key, imaginary modes within their errors, in THz; the other outputs are those of the second look.',
        )
        spec.output_namespace(RELAXED, valid_type=StructureData, dynamic=True)
        spec.expose_outputs(ForceConstantsWorkChain, include=(FORCE_CONSTANTS,))
        for name, kind in OUTPUTS.items():
            spec.output_namespace(name, valid_type=kind, dynamic=True)
        spec.exit_code(
            411, 'ERROR_SOME_CRYSTALS_FAILED', message='No phonons for {keys}; output_parameters of the jobs say why.'
        )
        spec.exit_code(400, 'ERROR_SUB_PROCESS_FAILED', message='{label}<{pk}> failed with exit status {status}.')
        define_endings(spec, 'Some crystals have no phonons')

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: Any,
        structure: StructureData | dict[str, StructureData],
        potential: PotentialData,
        protocol: str | None = None,
        overrides: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
        relax: bool = True,
        nac_params: dict[str, ArrayData] | None = None,
    ) -> ProcessBuilder:
        """A builder with everything filled in.

        :param code: the ``mlfc-run`` code, a node or its label.
        :param structure: one crystal, or several by key.
        :param protocol: ``fast``, ``balanced`` (default) or ``stringent``.
        :param overrides: laid over the protocol, ``{'relax': {...}, 'force_constants': {...}, 'phonons': {...}}``.
        :param options: ``metadata.options`` of the jobs, and ``workers``: processes in a job, a number or ``auto``.
        :param relax: relax positions (and cell, if overridden so) first.
        :param nac_params: Born charges and dielectric tensor by key.
        """
        builder = cls.get_builder()
        builder.structures = {'crystal': structure} if isinstance(structure, StructureData) else dict(structure)
        fill_builder(builder, code, potential, protocol, overrides, options, relax, nac_params)
        return builder

    def setup(self) -> None:
        """Start from the structures as given."""
        self.ctx.structures = dict(self.inputs.structures)
        self.ctx.force_constants = {}
        self.ctx.phonons = set()
        self.ctx.ended = None
        self.ctx.found = {}

    def should_relax(self) -> bool:
        """Whether relaxation is asked for."""
        return 'relax' in self.inputs

    def run_relax(self) -> ToContext:
        """All crystals in one job."""
        return self._submit(RelaxWorkChain, 'relax', structures=self.ctx.structures)

    def inspect_relax(self) -> ExitCode | None:
        """Go on with the crystals that relaxed."""
        if failure := self._failure(self.ctx.relax):
            return failure
        self.ctx.structures = self._namespace(self.ctx.relax, RELAXED)
        self.ctx.found[RELAXED] = dict(self.ctx.structures)
        return None

    def has_structures(self) -> bool:
        """Whether any crystal is left."""
        return bool(self.ctx.structures)

    def run_force_constants(self) -> ToContext:
        """All crystals in one job."""
        nac = {key: node for key, node in self.inputs.get('nac_params', {}).items() if key in self.ctx.structures}
        extra = {'nac_params': nac} if nac else {}
        return self._submit(ForceConstantsWorkChain, 'force_constants', structures=self.ctx.structures, **extra)

    def inspect_force_constants(self) -> ExitCode | None:
        """Go on with the crystals that have force constants."""
        if failure := self._failure(self.ctx.force_constants_run):
            return self._ended_with(failure)
        self.ctx.force_constants = self._namespace(self.ctx.force_constants_run, FORCE_CONSTANTS)
        self.ctx.found[FORCE_CONSTANTS] = dict(self.ctx.force_constants)
        return None

    def has_force_constants(self) -> bool:
        """Whether any crystal is left."""
        return bool(self.ctx.force_constants)

    def run_phonons(self) -> ToContext:
        """All crystals in one job."""
        return self._submit(PhononsWorkChain, 'phonons', force_constants=self.ctx.force_constants)

    def inspect_phonons(self) -> ExitCode | None:
        """Hand on what is there."""
        if failure := self._failure(self.ctx.phonons_run):
            return self._ended_with(failure)
        for name in OUTPUTS:
            self.ctx.found[name] = self._namespace(self.ctx.phonons_run, name)
            self.ctx.phonons = set(self.ctx.found[name])
        return None

    def _ended_with(self, code: ExitCode) -> ExitCode:
        """Hand on what the steps before have."""
        for name, nodes in self.ctx.found.items():
            self.out(name, nodes)
        return code

    def results(self) -> ExitCode | None:
        """Success means: every crystal has phonons."""
        for name, nodes in self.ctx.found.items():
            self.out(name, nodes)
        missing = sorted(set(self.inputs.structures) - self.ctx.phonons)
        if not missing:
            return None
        if self.ctx.ended:
            return ExitCode(*self.ctx.ended)
        code = self.exit_codes.ERROR_SOME_CRYSTALS_FAILED.format(keys=', '.join(missing))
        return because(code, f'The first: {self._why(missing[0])}') if self._why(missing[0]) else code

    def _why(self, key: str) -> str:
        """What the last job that failed for a crystal said of it."""
        for name in ('phonons_run', 'force_constants_run', 'relax'):
            child = self.ctx.get(name)
            if child is not None and 'output_parameters' in child.outputs:
                row = child.outputs.output_parameters.get_dict().get(key, {})
                if row.get('status') == 'failed':
                    return f'{key}: {printable(row["error"]["message"], _LONGEST_REASON)}'
        return ''

    def _submit(self, process: type[WorkChain], namespace: str, **crystals: Any) -> ToContext:
        inputs = AttributeDict(self.exposed_inputs(process, namespace))
        inputs[NAMESPACE].update(crystals)
        if process is not PhononsWorkChain:
            inputs[NAMESPACE]['potential'] = self.inputs.potential
        inputs.metadata = {**inputs.get('metadata', {}), 'call_link_label': namespace}
        running = self.submit(process, **inputs)
        self.report(f'{namespace} of {len(next(iter(crystals.values())))} crystals: {process.__name__}<{running.pk}>')
        return ToContext(**{namespace if namespace == 'relax' else f'{namespace}_run': running})

    def _failure(self, child: Any) -> ExitCode | None:
        """An exit code, unless the child finished, be it with some crystals failed, or ended early with some of them.

        What ended it early is said at the end, when the crystals that it did finish have their phonons.
        """
        codes = child.process_class.spec().exit_codes
        accepted = (0, codes.ERROR_SOME_STRUCTURES_FAILED.status, codes.ERROR_SOME_STRUCTURES_KILLED.status)
        if child.is_finished and child.exit_status in accepted:
            return None
        label = ending_with(child.exit_status)
        if label is None:
            code = self.exit_codes.ERROR_SUB_PROCESS_FAILED.format(
                label=child.process_label, pk=child.pk, status=child.exit_status
            )
        else:
            code = self.exit_codes[label]
        code = because(code, f'{child.process_label}<{child.pk}>: {child.exit_message or "no message"}')
        done = child.outputs.output_parameters.get_dict() if 'output_parameters' in child.outputs else {}
        if any(row['status'] == 'ok' for row in done.values()):
            self.ctx.ended = [code.status, code.message]
            return None
        return code

    @staticmethod
    def _namespace(child: Any, name: str) -> dict[str, Any]:
        """Output nodes of a child by key; empty if it has none."""
        return dict(child.outputs[name]) if name in child.outputs else {}
