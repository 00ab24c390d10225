"""Relaxations that did not converge: continued where they stopped, with more steps, then by the other optimiser."""

from __future__ import annotations

from typing import Any

from aiida.common import AttributeDict
from aiida.engine import ExitCode, ProcessHandlerReport, process_handler
from aiida.orm import CalcJobNode, Dict

from aiida_mlfc.calculations.merging import merge_parameters
from aiida_mlfc.calculations.relax import RELAXED, UNCONVERGED
from aiida_mlfc.exchange.relaxation_rounds import MAX_ROUNDS, next_round


class RelaxationRounds:
    """Mixed into the restart work chain of ``mlfc.relax``; a round is a set of crystals that is relaxed to its end."""

    ctx: Any
    report: Any
    exit_codes: Any

    @process_handler(priority=650)
    def handle_not_converged(self, calculation: CalcJobNode) -> ProcessHandlerReport | None:
        """Go on with those that did not converge, from their last geometry and without the others."""
        codes = calculation.process_class.spec().exit_codes
        finished = (codes.ERROR_SOME_STRUCTURES_FAILED.status, codes.ERROR_SOME_STRUCTURES_KILLED.status)
        rounds = self.ctx.get('rounds', [])
        if calculation.exit_status not in finished or UNCONVERGED not in calculation.outputs:
            return None
        if len(rounds) >= MAX_ROUNDS:
            return None
        self.ctx.rounds = [*rounds, calculation]
        left = dict(calculation.outputs[UNCONVERGED])
        inputs = AttributeDict(self.ctx.inputs)
        given = dict(inputs.structures)
        origins = dict(inputs.get('origins', {}))
        inputs.origins = {key: origins.get(key, given[key]) for key in left}
        inputs.structures = left
        parameters = next_round(inputs.parameters.get_dict(), len(rounds) + 1)
        inputs.parameters = Dict(parameters)
        for name in ('parent_folder', 'again'):
            inputs.pop(name, None)
        self.ctx.inputs, self.ctx.n_done = inputs, -1
        self.report(
            f'{", ".join(sorted(left))} did not converge in {calculation.process_label}<{calculation.pk}>; continued '
            f'from there with {parameters["steps"]} steps of {parameters["optimizer"]}'
        )
        return ProcessHandlerReport(True, ExitCode())

    def results(self) -> ExitCode | None:
        """Attach the outputs; what failed in an earlier round is still a failure."""
        code = super().results()  # type: ignore[misc]
        if code is None and self.ctx.get('failed'):
            return self.exit_codes.ERROR_SOME_STRUCTURES_FAILED
        return code

    def get_outputs(self, node: CalcJobNode) -> dict[str, Any]:
        """What all rounds have together; of a crystal the last one that has it."""
        last = super().get_outputs(node)  # type: ignore[misc]
        rounds = self.ctx.get('rounds', [])
        if not rounds:
            return dict(last)
        structures: dict[str, Any] = {}
        for calculation in [*rounds, node]:
            if RELAXED in calculation.outputs:
                structures |= dict(calculation.outputs[RELAXED])
        done = [c.outputs.output_parameters for c in [*rounds, node] if 'output_parameters' in c.outputs]
        merged = merge_parameters(**{f'round_{k}': parameters for k, parameters in enumerate(done)})
        self.ctx.failed = sorted(key for key, row in merged.get_dict().items() if row['status'] == 'failed')
        return {**last, RELAXED: structures, 'output_parameters': merged}
