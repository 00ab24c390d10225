"""One mlfc calculation, continued until every crystal has a result or a stated error."""

from __future__ import annotations

from typing import Any

from aiida.common import AttributeDict
from aiida.engine import BaseRestartWorkChain, ExitCode, ProcessHandlerReport, process_handler, while_
from aiida.orm import CalcJobNode, Dict

from aiida_mlfc.calculations.base import MlfcCalculation
from aiida_mlfc.calculations.evaluate import EvaluateCalculation
from aiida_mlfc.calculations.force_constants import ForceConstantsCalculation
from aiida_mlfc.calculations.phonons import PhononsCalculation
from aiida_mlfc.calculations.relax import RelaxCalculation
from aiida_mlfc.data.many_crystals import ManyCrystals
from aiida_mlfc.workchains.adopting import AdoptsChildren

#: scheduler exit codes of CalcJob: out of memory and out of walltime
OUT_OF_MEMORY, OUT_OF_WALLTIME = 110, 120
#: input namespace of the calculation
NAMESPACE = 'mlfc'


class RestartWorkChain(AdoptsChildren, BaseRestartWorkChain, ManyCrystals):
    """Base of those below: restarts an interrupted job from what it finished, keeps partial success."""

    _process_class = MlfcCalculation

    @classmethod
    def define(cls, spec: Any) -> None:
        """Inputs of the calculation in the namespace ``mlfc``, its outputs under their own names."""
        super().define(spec)
        spec.expose_inputs(cls._process_class, namespace=NAMESPACE)
        spec.expose_outputs(cls._process_class)
        spec.outline(
            cls.setup,
            while_(cls.should_run_process)(cls.run_process, cls.inspect_process),
            cls.results,
        )
        spec.exit_code(401, 'ERROR_NO_PROGRESS', message='Two runs in a row finished no further structure.')
        spec.exit_code(410, 'ERROR_SOME_STRUCTURES_FAILED', message='Some structures failed; see output_parameters.')

    def setup(self) -> None:
        """Collect the inputs of the calculation."""
        super().setup()
        self.ctx.inputs = AttributeDict(self.exposed_inputs(self._process_class, NAMESPACE))
        self.ctx.n_done = -1

    @process_handler(priority=600, exit_codes=MlfcCalculation.spec().exit_codes.ERROR_SOME_STRUCTURES_FAILED)
    def handle_some_failed(self, calculation: CalcJobNode) -> ProcessHandlerReport:
        """Bad structures are not repeated: the others' results are kept and the failure is passed on."""
        self.ctx.is_finished = True
        self.results()
        return ProcessHandlerReport(True, self.exit_codes.ERROR_SOME_STRUCTURES_FAILED)

    @process_handler(priority=500)
    def handle_interrupted(self, calculation: CalcJobNode) -> ProcessHandlerReport | None:
        """Walltime, memory, a lost node: the rest is computed in a new job that starts from the finished part."""
        interrupted = {
            OUT_OF_MEMORY,
            OUT_OF_WALLTIME,
            calculation.process_class.spec().exit_codes.ERROR_OUTPUT_RESULTS_INCOMPLETE.status,
            calculation.process_class.spec().exit_codes.ERROR_OUTPUT_RESULTS_MISSING.status,
        }
        if calculation.exit_status not in interrupted:
            return None
        parameters = calculation.outputs.output_parameters if 'output_parameters' in calculation.outputs else Dict({})
        n_done = len(parameters.get_dict())
        if n_done <= self.ctx.n_done:
            return ProcessHandlerReport(True, self.exit_codes.ERROR_NO_PROGRESS)
        self.ctx.n_done = n_done
        if n_done:
            self.ctx.inputs.parent_folder = calculation.outputs.remote_folder
        self.report(
            f'{calculation.process_label}<{calculation.pk}> was interrupted with {n_done} structures done; '
            'the rest is continued'
        )
        return ProcessHandlerReport(True, ExitCode())


class EvaluateWorkChain(RestartWorkChain):
    """``mlfc.evaluate`` until done."""

    _process_class = EvaluateCalculation


class RelaxWorkChain(RestartWorkChain):
    """``mlfc.relax`` until done."""

    _process_class = RelaxCalculation


class ForceConstantsWorkChain(RestartWorkChain):
    """``mlfc.force_constants`` until done."""

    _process_class = ForceConstantsCalculation


class PhononsWorkChain(RestartWorkChain):
    """``mlfc.phonons`` until done."""

    _process_class = PhononsCalculation
