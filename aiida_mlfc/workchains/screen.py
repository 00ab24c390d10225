"""``mlfc.screen``: many crystals in shards, each an ``mlfc.phonon``."""

from __future__ import annotations

from typing import Any

from aiida.engine import ExitCode, WorkChain, append_, while_
from aiida.orm import ArrayData, StructureData

from aiida_mlfc.calculations.base import validate_keys
from aiida_mlfc.workchains.phonon import PhononWorkChain, fill_builder

DEFAULT_SHARD_SIZE = 50
DEFAULT_CONCURRENT = 4


class ScreenWorkChain(WorkChain):
    """Phonons of many crystals; a shard that fails does not touch the others."""

    @classmethod
    def define(cls, spec: Any) -> None:
        """Inputs, outline, outputs."""
        super().define(spec)
        spec.input_namespace('structures', valid_type=StructureData, dynamic=True, validator=validate_keys)
        spec.input_namespace('nac_params', valid_type=ArrayData, dynamic=True, required=False)
        spec.expose_inputs(PhononWorkChain, exclude=('structures', 'nac_params'))
        spec.input('shard_size', valid_type=int, non_db=True, default=DEFAULT_SHARD_SIZE, help='Crystals in one job.')
        spec.input(
            'max_concurrent',
            valid_type=int,
            non_db=True,
            default=DEFAULT_CONCURRENT,
            help='Shards that run at the same time.',
        )
        spec.expose_outputs(PhononWorkChain)
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

    def setup(self) -> None:
        """Cut the keys into shards."""
        keys, size = sorted(self.inputs.structures), max(1, self.inputs.shard_size)
        self.ctx.pending = [keys[k : k + size] for k in range(0, len(keys), size)]
        self.ctx.seen = 0
        self.ctx.done = set()

    def has_shards(self) -> bool:
        """Whether any shard waits."""
        return bool(self.ctx.pending)

    def run_shards(self) -> None:
        """Submit the next shards."""
        count = max(1, self.inputs.max_concurrent)
        now, self.ctx.pending = self.ctx.pending[:count], self.ctx.pending[count:]
        nac = self.inputs.get('nac_params', {})
        for keys in now:
            inputs = self.exposed_inputs(PhononWorkChain)
            inputs['structures'] = {key: self.inputs.structures[key] for key in keys}
            if chosen := {key: nac[key] for key in keys if key in nac}:
                inputs['nac_params'] = chosen
            running = self.submit(PhononWorkChain, **inputs)
            self.report(f'{len(keys)} crystals: PhononWorkChain<{running.pk}>')
            self.to_context(shards=append_(running))

    def inspect_shards(self) -> None:
        """Hand on the outputs of the shards that ended."""
        for shard in self.ctx.shards[self.ctx.seen :]:
            outputs = self.exposed_outputs(shard, PhononWorkChain)
            for name, nodes in outputs.items():
                self.out(name, nodes)
            self.ctx.done |= set(outputs.get('phonon_bands', {}))
        self.ctx.seen = len(self.ctx.shards)

    def results(self) -> ExitCode | None:
        """Success means: every crystal has phonons."""
        missing = set(self.inputs.structures) - self.ctx.done
        if missing:
            return self.exit_codes.ERROR_SOME_CRYSTALS_FAILED.format(
                n_missing=len(missing), n_all=len(self.inputs.structures)
            )
        return None
