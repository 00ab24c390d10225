"""``mlfc.phonon``: relax -> force constants -> phonons and stability, for a namespace of crystals in one job."""

from __future__ import annotations

from typing import Any

from aiida.common import AttributeDict
from aiida.engine import ExitCode, ProcessBuilder, ToContext, WorkChain, if_
from aiida.orm import ArrayData, Dict, StructureData

from aiida_mlfc.calculations.base import validate_keys
from aiida_mlfc.calculations.relax import RELAXED
from aiida_mlfc.core.printable import printable
from aiida_mlfc.data.facts import FORCE_CONSTANTS
from aiida_mlfc.data.many_crystals import ManyCrystals
from aiida_mlfc.data.phonons import BANDS, OUTPUTS
from aiida_mlfc.data.potential import PotentialData
from aiida_mlfc.workchains.adopting import AdoptsChildren
from aiida_mlfc.workchains.endings import because, define_endings, ending_with
from aiida_mlfc.workchains.job_options import set_job_options
from aiida_mlfc.workchains.protocol import protocol_inputs
from aiida_mlfc.workchains.restart import NAMESPACE, PhononStepsWorkChain
from aiida_mlfc.workchains.second_look import SecondLook

#: characters of a reason in an exit message
_LONGEST_REASON = 300
#: the namespace of the job
STEPS = 'steps'
#: ports of the calculation that the work chain fills in itself
_FILLED_IN = tuple(f'{NAMESPACE}.{port}' for port in ('structures', 'potential', 'nac_params', 'parent_folder'))


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
    """Set potential, code and parameters; see ``get_builder_from_protocol``."""
    inputs = protocol_inputs('phonon', protocol, overrides)
    builder.potential = potential
    if nac_params:
        builder.nac_params = nac_params
    fill_steps(builder[STEPS][NAMESPACE], code, inputs, options, relax)


def fill_steps(
    calculation: Any, code: Any, inputs: dict[str, Any], options: dict[str, Any] | None, relax: bool
) -> None:
    """Code, parameters and options of the job.

    :param calculation: inputs of ``mlfc.phonon_steps`` in a builder.
    :param inputs: ``parameters`` of each step, as :func:`protocol_inputs` gives them.
    :raises ValueError: if the steps ask for different devices or precisions.
    """
    from aiida.orm import load_code

    calculation.code = load_code(code) if isinstance(code, str) else code
    steps = [name for name in ('relax', 'force_constants', 'phonons') if relax or name != 'relax']
    for option in ('device', 'dtype'):
        given = {name: inputs[name]['parameters'].get(option) for name in steps if name != 'phonons'}
        if len(set(given.values())) > 1:
            raise ValueError(
                f'{option}: got {given["relax"]} for relax and {given["force_constants"]} for force_constants, wanted '
                'the same: one job does both'
            )
    calculation.parameters = Dict({name: inputs[name]['parameters'] for name in steps})
    set_job_options([calculation], options)


class PhononWorkChain(SecondLook, AdoptsChildren, WorkChain, ManyCrystals):
    """Phonons of one or many crystals with one potential, in one job whatever their number."""

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
        spec.expose_inputs(PhononStepsWorkChain, namespace=STEPS, exclude=_FILLED_IN)
        spec.outline(
            cls.setup,
            cls.run_steps,
            cls.inspect_steps,
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
        spec.expose_outputs(PhononStepsWorkChain, include=(FORCE_CONSTANTS,))
        for name, kind in OUTPUTS.items():
            spec.output_namespace(name, valid_type=kind, dynamic=True)
        spec.exit_code(
            411, 'ERROR_SOME_CRYSTALS_FAILED', message='No phonons for {keys}; output_parameters of the job say why.'
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
        """Nothing is known yet."""
        self.ctx.ended = None
        self.ctx.found = {}

    def run_steps(self) -> ToContext:
        """All crystals in one job."""
        inputs = AttributeDict(self.exposed_inputs(PhononStepsWorkChain, STEPS))
        for name in ('structures', 'potential', 'nac_params'):
            if name in self.inputs:
                inputs[NAMESPACE][name] = self.inputs[name]
        inputs.metadata = {**inputs.get('metadata', {}), 'call_link_label': STEPS}
        running = self.submit(PhononStepsWorkChain, **inputs)
        self.report(f'{len(self.inputs.structures)} crystals: {running.process_label}<{running.pk}>')
        return ToContext(steps=running)

    def inspect_steps(self) -> ExitCode | None:
        """Hand on what is there."""
        failure = self._failure(self.ctx.steps)
        for name in (RELAXED, FORCE_CONSTANTS, *OUTPUTS):
            if name in self.ctx.steps.outputs:
                self.ctx.found[name] = dict(self.ctx.steps.outputs[name])
        return self._ended_with(failure) if failure else None

    def _ended_with(self, code: ExitCode) -> ExitCode:
        """Hand on what there is."""
        for name, nodes in self.ctx.found.items():
            self.out(name, nodes)
        return code

    def results(self) -> ExitCode | None:
        """Success means: every crystal has phonons."""
        for name, nodes in self.ctx.found.items():
            self.out(name, nodes)
        missing = sorted(set(self.inputs.structures) - set(self.ctx.found.get(BANDS, {})))
        if not missing:
            return None
        if self.ctx.ended:
            return ExitCode(*self.ctx.ended)
        code = self.exit_codes.ERROR_SOME_CRYSTALS_FAILED.format(keys=', '.join(missing))
        return because(code, f'The first: {self._why(missing[0])}') if self._why(missing[0]) else code

    def _why(self, key: str) -> str:
        """What the job said of a crystal that failed."""
        if 'output_parameters' not in self.ctx.steps.outputs:
            return ''
        row = self.ctx.steps.outputs.output_parameters.get_dict().get(key, {})
        if row.get('status') != 'failed':
            return ''
        return f'{key}: {printable(row["error"]["message"], _LONGEST_REASON)}'

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
