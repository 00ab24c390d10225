"""One mlfc calculation, continued until every crystal has a result or a stated error."""

from __future__ import annotations

from typing import Any

from aiida.common import AttributeDict
from aiida.engine import BaseRestartWorkChain, ExitCode, ProcessHandlerReport, process_handler, while_
from aiida.orm import CalcJobNode, Dict, Int

from aiida_mlfc.calculations.base import MlfcCalculation
from aiida_mlfc.calculations.evaluate import EvaluateCalculation
from aiida_mlfc.calculations.force_constants import ForceConstantsCalculation
from aiida_mlfc.calculations.phonon_steps import PhononStepsCalculation
from aiida_mlfc.calculations.phonons import PhononsCalculation
from aiida_mlfc.calculations.relax import RelaxCalculation
from aiida_mlfc.data.many_crystals import ManyCrystals
from aiida_mlfc.exchange.errors import UNREADABLE
from aiida_mlfc.workchains.adopting import AdoptsChildren
from aiida_mlfc.workchains.endings import because, define_endings, ending_of
from aiida_mlfc.workchains.relaxation_rounds import RelaxationRounds

#: scheduler exit codes of CalcJob: out of memory, out of walltime, a lost node
OUT_OF_MEMORY, OUT_OF_WALLTIME, NODE_FAILURE = 110, 120, 140
#: jobs of one work chain; each one but the first follows on progress, so that this ends nothing that gets on
MAX_ITERATIONS = 30
#: input namespace of the calculation
NAMESPACE = 'mlfc'
#: in the sum that says how far a work chain is, a finished crystal counts more than everything that may happen to it
_OF_A_CRYSTAL = 10
#: and what happens to one counts so often: afterwards mlfc-run gives it up, or it only costs time
_AT_MOST = {'killed': 3, 'killed_in_company': 1, 'stopped': 1}


class RestartWorkChain(AdoptsChildren, BaseRestartWorkChain, ManyCrystals):
    """Base of those below: restarts an interrupted job from what it finished, keeps partial success."""

    _process_class = MlfcCalculation

    @classmethod
    def define(cls, spec: Any) -> None:
        """Inputs of the calculation in the namespace ``mlfc``, its outputs under their own names."""
        super().define(spec)
        spec.expose_inputs(cls._process_class, namespace=NAMESPACE)
        spec.expose_outputs(cls._process_class)
        spec.inputs['max_iterations'].default = lambda: Int(MAX_ITERATIONS)
        spec.outline(
            cls.setup,
            while_(cls.should_run_process)(cls.run_process, cls.inspect_process),
            cls.results,
        )
        spec.exit_code(405, 'ERROR_NO_PROGRESS', message='Two runs in a row finished no further structure.')
        spec.exit_code(410, 'ERROR_SOME_STRUCTURES_FAILED', message='Some structures failed; see output_parameters.')
        spec.exit_code(
            412,
            'ERROR_SOME_STRUCTURES_KILLED',
            message='Some structures failed, some of them for lack of memory or by killing the process; see '
            'output_parameters.',
        )
        define_endings(spec, 'No further structure was finished')

    def setup(self) -> None:
        """Collect the inputs of the calculation."""
        super().setup()
        self.ctx.inputs = AttributeDict(self.exposed_inputs(self._process_class, NAMESPACE))
        self.ctx.n_done = -1
        self.ctx.reread = set()

    @process_handler(priority=600)
    def handle_some_failed(self, calculation: CalcJobNode) -> ProcessHandlerReport | None:
        """Bad structures are not repeated: the others' results are kept and the failure is passed on."""
        codes = calculation.process_class.spec().exit_codes
        for label in ('ERROR_SOME_STRUCTURES_FAILED', 'ERROR_SOME_STRUCTURES_KILLED'):
            if calculation.exit_status == codes[label].status:
                return self._end(self.exit_codes[label])
        return None

    @process_handler(priority=550)
    def handle_unreadable(self, calculation: CalcJobNode) -> ProcessHandlerReport | None:
        """Results that cannot be read are computed once more, the others are kept; then they are failures."""
        codes = calculation.process_class.spec().exit_codes
        if calculation.exit_status != codes.ERROR_OUTPUT_RESULTS_UNREADABLE.status:
            return None
        rows = _rows(calculation)
        broken = {key for key, row in rows.items() if row.get('error', {}).get('type') == UNREADABLE}
        if not broken:
            return None
        if broken <= self.ctx.reread:
            return self._end(self.exit_codes.ERROR_SOME_STRUCTURES_FAILED)
        self.ctx.reread |= broken
        self._continue_from(calculation)
        self.ctx.inputs.again = sorted(broken)
        self.report(f'{_named(calculation)}: results of {", ".join(sorted(broken))} cannot be read, once more')
        return ProcessHandlerReport(True, ExitCode())

    @process_handler(priority=500)
    def handle_interrupted(self, calculation: CalcJobNode) -> ProcessHandlerReport | None:
        """Walltime, memory, a lost node, a dead process: a new job starts from the finished part and does the rest.

        What was in progress comes last there and alone, with the least memory, and is given up after three kills: marks
        in the results folder, which are carried over, say so (:mod:`aiida_mlfc.exchange.marks`).
        """
        codes = calculation.process_class.spec().exit_codes
        dead = {
            OUT_OF_MEMORY,
            NODE_FAILURE,
            codes.ERROR_OUTPUT_RESULTS_INCOMPLETE.status,
            codes.ERROR_OUTPUT_RESULTS_MISSING.status,
        }
        stopped = {OUT_OF_WALLTIME, codes.ERROR_JOB_STOPPED.status}
        if calculation.exit_status not in dead | stopped:
            return None
        n_done, attempts = len(_rows(calculation)), _attempts(calculation)
        happened = sum(min(n, _AT_MOST[what]) for counts in attempts.values() for what, n in counts.items())
        progress = _OF_A_CRYSTAL * n_done + happened
        if progress <= self.ctx.n_done:
            return self._end(self._ending(calculation, attempts))
        self.ctx.n_done = progress
        self._continue_from(calculation)
        if calculation.exit_status in dead and 'workers' not in self.ctx.inputs:
            # Under a supervisor the next one that kills costs a process and not a job.
            self.ctx.inputs.workers = 1
        in_progress = f', in the middle of {", ".join(sorted(attempts))}' if attempts else ''
        self.report(
            f'{_named(calculation)} was interrupted with {n_done} structures done{in_progress}; the rest is continued '
            f'({calculation.exit_message})'
        )
        return ProcessHandlerReport(True, ExitCode())

    def _continue_from(self, calculation: CalcJobNode) -> None:
        """Let the next job start from the results folder of this one, if it has any."""
        if 'output_parameters' in calculation.outputs:
            self.ctx.inputs.parent_folder = calculation.outputs.remote_folder
        self.ctx.inputs.pop('again', None)

    def _ending(self, calculation: CalcJobNode, attempts: dict[str, Any]) -> ExitCode:
        """What is said when going on makes no sense."""
        why = f'{_named(calculation)}: {calculation.exit_message}'
        if attempts:
            why += f' In the middle of {", ".join(sorted(attempts))}.'
        label = ending_of(calculation.exit_status, calculation.process_class.spec().exit_codes)
        return because(self.exit_codes[label or 'ERROR_NO_PROGRESS'], why)

    def _end(self, code: ExitCode) -> ProcessHandlerReport:
        """Attach what the last job has, and finish with ``code``."""
        self.ctx.is_finished = True
        self.results()
        return ProcessHandlerReport(True, code)


def _named(calculation: CalcJobNode) -> str:
    return f'{calculation.process_label}<{calculation.pk}>'


def _rows(calculation: CalcJobNode) -> dict[str, Any]:
    parameters = calculation.outputs.output_parameters if 'output_parameters' in calculation.outputs else Dict({})
    return dict(parameters.get_dict())


def _attempts(calculation: CalcJobNode) -> dict[str, Any]:
    attempts = calculation.outputs.output_attempts if 'output_attempts' in calculation.outputs else Dict({})
    return dict(attempts.get_dict())


class EvaluateWorkChain(RestartWorkChain):
    """``mlfc.evaluate`` until done."""

    _process_class = EvaluateCalculation


class RelaxWorkChain(RelaxationRounds, RestartWorkChain):
    """``mlfc.relax`` until done, and until what can converge has converged."""

    _process_class = RelaxCalculation


class ForceConstantsWorkChain(RestartWorkChain):
    """``mlfc.force_constants`` until done."""

    _process_class = ForceConstantsCalculation


class PhononsWorkChain(RestartWorkChain):
    """``mlfc.phonons`` until done."""

    _process_class = PhononsCalculation


class PhononStepsWorkChain(RestartWorkChain):
    """``mlfc.phonon_steps`` until done."""

    _process_class = PhononStepsCalculation
