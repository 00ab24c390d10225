"""``mlfc.train`` until done: a job that ran out of walltime is continued from its state, to the same weights."""

from __future__ import annotations

from aiida.engine import ExitCode, ProcessHandlerReport, process_handler
from aiida.orm import CalcJobNode

from aiida_mlfc.calculations.train import TrainCalculation
from aiida_mlfc.workchains.restart import OUT_OF_MEMORY, OUT_OF_WALLTIME, RestartWorkChain


class TrainWorkChain(RestartWorkChain):
    """Restarts an interrupted training with its state carried over."""

    _process_class = TrainCalculation

    @process_handler(priority=500)
    def handle_interrupted(self, calculation: CalcJobNode) -> ProcessHandlerReport | None:
        """Walltime, memory, a lost node: the next job begins at the step of the last state."""
        codes = TrainCalculation.spec().exit_codes
        interrupted = {OUT_OF_MEMORY, OUT_OF_WALLTIME, codes.ERROR_TRAINING_INTERRUPTED.status}
        if calculation.exit_status not in interrupted:
            return None
        step = 0
        if 'output_parameters' in calculation.outputs:
            step = calculation.outputs.output_parameters.get_dict().get('training', {}).get('step', 0)
        if step <= self.ctx.n_done:
            return ProcessHandlerReport(True, self.exit_codes.ERROR_NO_PROGRESS)
        self.ctx.n_done = step
        if step:
            self.ctx.inputs.parent_folder = calculation.outputs.remote_folder
        self.report(f'{calculation.process_label}<{calculation.pk}> stopped at step {step} and is continued')
        return ProcessHandlerReport(True, ExitCode())
