"""``mlfc.screen``: many crystals in shards, each an ``mlfc.phonon``."""

from __future__ import annotations

from typing import Any

from aiida.common import AttributeDict
from aiida.engine import ExitCode, WorkChain, append_, while_
from aiida.orm import ArrayData, StructureData

from aiida_mlfc.calculations.base import validate_keys
from aiida_mlfc.core.shards import cut_shards
from aiida_mlfc.data.costs import seconds_by_crystal, structure_costs
from aiida_mlfc.data.many_crystals import ManyCrystals
from aiida_mlfc.data.outcomes import keep_rows
from aiida_mlfc.data.screens import EXTRA_PACE, EXTRA_SETTINGS
from aiida_mlfc.workchains.adopting import AdoptsChildren
from aiida_mlfc.workchains.phonon import STEPS, PhononWorkChain, fill_builder
from aiida_mlfc.workchains.restart import NAMESPACE

#: a job of more is slow to write, to read and to repeat
DEFAULT_SHARD_SIZE = 250
DEFAULT_CONCURRENT = 4
DEFAULT_JOB_MINUTES = 30.0
#: s for a unit of estimated cost until the first round has measured it: the fixed cost of a crystal is 0.1 s then
DEFAULT_PACE = 5e-6


class ScreenWorkChain(AdoptsChildren, WorkChain, ManyCrystals):
    """Phonons of many crystals; a shard that fails does not touch the others."""

    @classmethod
    def define(cls, spec: Any) -> None:
        """Inputs, outline, outputs."""
        super().define(spec)
        spec.input_namespace('structures', valid_type=StructureData, dynamic=True, validator=validate_keys)
        spec.input_namespace('nac_params', valid_type=ArrayData, dynamic=True, required=False)
        spec.expose_inputs(PhononWorkChain, exclude=('structures', 'nac_params'))
        spec.input(
            'shard_size', valid_type=int, non_db=True, default=DEFAULT_SHARD_SIZE, help='At most so many in one job.'
        )
        spec.input(
            'job_minutes',
            valid_type=(int, float),
            non_db=True,
            default=DEFAULT_JOB_MINUTES,
            help='What a job should take; jobs are cut by estimated cost to meet it.',
        )
        spec.input(
            'seconds_per_cost',
            valid_type=float,
            non_db=True,
            required=False,
            help='What earlier screens measured; see core.structures.cost. This screen measures for itself as it goes.',
        )
        spec.input(
            'settings',
            valid_type=str,
            non_db=True,
            required=False,
            help='Hash of everything but the crystals, see data.screens: by it a second launch finds this one.',
        )
        spec.input(
            'max_concurrent',
            valid_type=int,
            non_db=True,
            default=DEFAULT_CONCURRENT,
            help='Shards that run at the same time.',
        )
        # what was doubted stands at the shard that looked again
        spec.expose_outputs(PhononWorkChain, exclude=('output_doubts',))
        spec.outline(cls.setup, while_(cls.has_shards)(cls.run_shards, cls.inspect_shards), cls.results)
        spec.exit_code(411, 'ERROR_SOME_CRYSTALS_FAILED', message='No phonons for {n_missing} of {n_all} crystals.')

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: Any,
        structures: dict[str, StructureData],
        potential: Any,
        protocol: str | None = None,
        overrides: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
        relax: bool = True,
        nac_params: dict[str, ArrayData] | None = None,
    ) -> Any:
        """As :meth:`PhononWorkChain.get_builder_from_protocol`, for many structures by key."""
        builder = cls.get_builder()
        builder.structures = dict(structures)
        fill_builder(builder, code, potential, protocol, overrides, options, relax, nac_params)
        return builder

    def _setup_db_record(self) -> None:
        """As AiiDA's; a second launch must find this one from the moment in which it is stored."""
        super()._setup_db_record()
        if 'settings' in self.inputs:
            self.node.base.extras.set(EXTRA_SETTINGS, self.inputs.settings)

    def setup(self) -> None:
        """Estimate what each crystal costs."""
        parameters = self.inputs[STEPS][NAMESPACE].parameters.get_dict().get('force_constants', {})
        self.ctx.pending = structure_costs(self.inputs.structures, self.inputs.potential.cutoff, parameters)
        self.ctx.pace = self.inputs.get('seconds_per_cost', DEFAULT_PACE)
        self.ctx.spent = self.ctx.cost = 0.0
        self.ctx.count = self.ctx.seen = 0
        self.ctx.done = []

    def has_shards(self) -> bool:
        """Whether any crystal waits."""
        return bool(self.ctx.pending)

    def run_shards(self) -> None:
        """Cut what waits into shards by what jobs took so far, and submit the first ones."""
        count = max(1, self.inputs.max_concurrent)
        shards = cut_shards(
            self.ctx.pending, self._seconds_per_job() / self.ctx.pace, max(1, self.inputs.shard_size), count
        )
        nac = self.inputs.get('nac_params', {})
        costs, waiting = dict(self.ctx.pending), dict(self.ctx.pending)
        for keys in shards[:count]:
            inputs = AttributeDict(self.exposed_inputs(PhononWorkChain))
            inputs['structures'] = {key: self.inputs.structures[key] for key in keys}
            if chosen := {key: nac[key] for key in keys if key in nac}:
                inputs['nac_params'] = chosen
            cost = sum(waiting.pop(key) for key in keys)
            inputs['metadata'] = {**inputs.get('metadata', {}), 'call_link_label': f'shard_{self.ctx.count:04d}'}
            running = self.submit(PhononWorkChain, **inputs)
            self.report(f'{len(keys)} crystals, estimated {cost * self.ctx.pace:.0f} s: PhononWorkChain<{running.pk}>')
            self.to_context(shards=append_(running))
            self.ctx.count += 1
        self.ctx.costs = {key: cost for key, cost in costs.items() if key not in waiting}
        self.ctx.pending = waiting

    def _seconds_per_job(self) -> float:
        """What a job should take: as asked for, and never more than half of its walltime."""
        options = self.inputs[STEPS][NAMESPACE].metadata.options
        return min(60 * self.inputs.job_minutes, options.max_wallclock_seconds / 2)

    def inspect_shards(self) -> None:
        """Hand on the outputs of the shards that ended, and learn what a crystal really takes."""
        ended = self.ctx.shards[self.ctx.seen :]
        for shard in ended:
            outputs = self.exposed_outputs(shard, PhononWorkChain)
            for name, nodes in outputs.items():
                # One by one: a namespace given as a whole replaces what earlier shards left in it.
                for key, node in nodes.items():
                    self.out(f'{name}.{key}', node)
            self.ctx.done += list(outputs.get('phonon_bands', {}))
        seconds = seconds_by_crystal([shard.pk for shard in ended])
        self.ctx.spent += sum(seconds.values())
        self.ctx.cost += sum(cost for key, cost in self.ctx.costs.items() if key in seconds)
        if self.ctx.spent > 0 and self.ctx.cost > 0:
            self.ctx.pace = self.ctx.spent / self.ctx.cost
            self.node.base.extras.set(EXTRA_PACE, self.ctx.pace)
        self.ctx.seen = len(self.ctx.shards)

    def results(self) -> ExitCode | None:
        """Success means: every crystal has phonons."""
        missing = set(self.inputs.structures) - set(self.ctx.done)
        if missing:
            return self.exit_codes.ERROR_SOME_CRYSTALS_FAILED.format(
                n_missing=len(missing), n_all=len(self.inputs.structures)
            )
        return None

    def on_terminated(self) -> None:
        """As AiiDA's; tables find the rows made. They are a copy: without them tables read the same from provenance."""
        super().on_terminated()
        try:
            keep_rows(self.node)
        except Exception:
            self.logger.exception('The rows of screen %s could not be kept; the next table makes them', self.node.pk)
