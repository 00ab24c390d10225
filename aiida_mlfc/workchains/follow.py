"""``mlfc.follow``: imaginary modes of a crystal followed downhill, generation by generation, to stable crystals."""

from __future__ import annotations

from typing import Any

from aiida.common import AttributeDict
from aiida.engine import ExitCode, ProcessBuilder, ToContext, WorkChain, if_, while_
from aiida.orm import Dict, List, StructureData

from aiida_mlfc.calculations.displace import DisplaceCalculation
from aiida_mlfc.calculations.following import (
    crystal_key,
    family_after_modes,
    next_generation,
    primitive_structure,
    root_crystal,
    tree,
)
from aiida_mlfc.calculations.relax import RELAXED
from aiida_mlfc.core.phonons.following.modes import THRESHOLD
from aiida_mlfc.core.phonons.following.tree import Budget
from aiida_mlfc.data.phonons import OUTPUTS
from aiida_mlfc.data.potential import PotentialData
from aiida_mlfc.workchains.adopting import AdoptsChildren
from aiida_mlfc.workchains.follow_builder import fill_follow_builder
from aiida_mlfc.workchains.phonon import PhononWorkChain
from aiida_mlfc.workchains.restart import NAMESPACE, RelaxWorkChain, RestartWorkChain

DISPLACED = 'displaced_structures'
_CRYSTALS = (f'{NAMESPACE}.structures', f'{NAMESPACE}.potential', f'{NAMESPACE}.parent_folder')


class DisplaceWorkChain(RestartWorkChain):
    """``mlfc.displace`` until done."""

    _process_class = DisplaceCalculation


def validate_budget(node: Dict, _: Any) -> str | None:
    """Fields of :class:`Budget`, with sense."""
    try:
        Budget(**node.get_dict())
    except (TypeError, ValueError) as error:
        return str(error)
    return None


class FollowWorkChain(AdoptsChildren, WorkChain):
    """The tree of crystals below an unstable one: each a node, linked to its parent through what was done to it."""

    @classmethod
    def define(cls, spec: Any) -> None:
        """Inputs, outline, outputs."""
        super().define(spec)
        spec.input('structure', valid_type=StructureData)
        spec.input('potential', valid_type=PotentialData)
        spec.input(
            'budget',
            valid_type=Dict,
            default=lambda: Dict({'generations': 3, 'children': 4, 'atoms': 80}),
            validator=validate_budget,
            help='generations from the root, children of a generation that are followed, atoms in a supercell.',
        )
        spec.expose_inputs(RelaxWorkChain, namespace='relax', exclude=_CRYSTALS)
        spec.expose_inputs(DisplaceWorkChain, namespace='displace', exclude=_CRYSTALS)
        spec.expose_inputs(
            PhononWorkChain,
            namespace='phonon',
            exclude=('structures', 'potential', 'nac_params'),
            namespace_options={
                'required': False,
                'populate_defaults': False,
                'help': 'Bands, density of states and thermal properties of what is stable; leave out for none.',
            },
        )
        spec.input(
            'confirm_mesh',
            valid_type=List,
            required=False,
            help='Denser mesh of wave vectors on which what is stable is looked at once more; leave out for none.',
        )
        spec.outline(
            cls.setup,
            cls.relax_root,
            cls.inspect_root,
            while_(cls.has_frontier)(
                cls.run_displace,
                cls.inspect_displace,
                if_(cls.has_distortions)(cls.run_relax, cls.inspect_relax),
                cls.grow,
            ),
            if_(cls.should_confirm)(cls.run_confirm, cls.inspect_confirm),
            cls.make_tree,
            if_(cls.should_run_phonons)(cls.run_phonons, cls.inspect_phonons),
        )
        spec.output('output_tree', valid_type=Dict, help='nodes and outcome; see core.phonons.following.tree.')
        spec.output_namespace('crystals', valid_type=StructureData, dynamic=True, help='Primitive cells, n0 the root.')
        spec.expose_outputs(PhononWorkChain, exclude=(RELAXED,), namespace_options={'required': False})
        spec.exit_code(400, 'ERROR_SUB_PROCESS_FAILED', message='{label}<{pk}> failed with exit status {status}.')
        spec.exit_code(402, 'ERROR_ROOT_NOT_RELAXED', message='The crystal itself does not relax: {reason}')

    @classmethod
    def get_builder_from_protocol(
        cls, code: Any, structure: StructureData, potential: PotentialData, **settings: Any
    ) -> ProcessBuilder:
        """A builder with everything filled in; the settings are those of :func:`fill_follow_builder`."""
        builder = cls.get_builder()
        builder.structure, builder.potential = structure, potential
        fill_follow_builder(builder, code, **settings)
        return builder

    def setup(self) -> None:
        """The primitive cell."""
        self.ctx.crystals = {}
        self.ctx.generation = 0
        self.ctx.start = primitive_structure(self.inputs.structure)

    def relax_root(self) -> ToContext:
        """The crystal itself, its space group kept."""
        return self._submit(RelaxWorkChain, 'relax', 'relaxed', {'n0': self.ctx.start})

    def inspect_root(self) -> ExitCode | None:
        """The first crystal of the tree."""
        child = self.ctx.relaxed
        if RELAXED not in child.outputs:
            rows = child.outputs.output_parameters.get_dict() if 'output_parameters' in child.outputs else {}
            reason = rows.get('n0', {}).get('error', {}).get('message', child.exit_message or 'no result')
            return self.exit_codes.ERROR_ROOT_NOT_RELAXED.format(reason=reason)
        self._take(root_crystal(child.outputs[RELAXED]['n0'], child.outputs.output_parameters))
        return None

    def has_frontier(self) -> bool:
        """Whether crystals were found whose modes are not known."""
        return bool(self.ctx.frontier)

    def run_displace(self) -> ToContext:
        """Modes and displaced supercells of the newest crystals in one job."""
        return self._submit(
            DisplaceWorkChain, 'displace', 'displaced', {key: self.ctx.crystals[key] for key in self.ctx.frontier}
        )

    def inspect_displace(self) -> ExitCode | None:
        """Which distortions are worth a relaxation."""
        child = self.ctx.displaced
        if failure := self._failure(child):
            return failure
        rows = child.outputs.output_parameters.get_dict()
        nodes = family_after_modes(self.ctx.family.get_dict(), rows, self.inputs.budget.get_dict())
        followed = {crystal_key(node.identifier) for node in nodes if node.verdict == 'open'}
        made = dict(child.outputs[DISPLACED]) if DISPLACED in child.outputs else {}
        self.ctx.distortions = {key: node for key, node in made.items() if key.partition('_')[0] in followed}
        self.ctx.relaxed = None
        return None

    def has_distortions(self) -> bool:
        """Whether there is anything to relax."""
        return bool(self.ctx.distortions)

    def run_relax(self) -> ToContext:
        """All distortions of a generation in one job."""
        return self._submit(RelaxWorkChain, 'relax', 'relaxed', self.ctx.distortions)

    def inspect_relax(self) -> ExitCode | None:
        """Distortions that do not relax are written down in the tree; a job that gives nothing ends it."""
        return self._failure(self.ctx.relaxed)

    def grow(self) -> None:
        """New crystals from relaxed distortions."""
        others: dict[str, Any] = dict(self.ctx.crystals)
        if self.ctx.relaxed is not None:
            others['relax_parameters'] = self.ctx.relaxed.outputs.output_parameters
            others |= dict(self.ctx.relaxed.outputs[RELAXED]) if RELAXED in self.ctx.relaxed.outputs else {}
        parameters = self.ctx.displaced.outputs.output_parameters
        self._take(next_generation(self.ctx.family, parameters, self.inputs.budget, **others))

    def should_confirm(self) -> bool:
        """Whether a denser mesh is asked for, and any crystal is stable so far."""
        return 'confirm_mesh' in self.inputs and bool(self._stable(self.ctx.family))

    def run_confirm(self) -> ToContext:
        """Exact modes on the denser mesh, no displaced crystals."""
        options = self.inputs.displace[NAMESPACE].parameters.get_dict()
        options |= {'mesh': self.inputs.confirm_mesh.get_list(), 'directions': 0}
        stable = {key: self.ctx.crystals[key] for key in self._stable(self.ctx.family)}
        return self._submit(DisplaceWorkChain, 'displace', 'confirmed', stable, parameters=Dict(options))

    def inspect_confirm(self) -> ExitCode | None:
        """A job that gives nothing ends it."""
        return self._failure(self.ctx.confirmed)

    def make_tree(self) -> None:
        """The tree with its verdicts."""
        parameters = self.inputs.displace[NAMESPACE].parameters.get_dict()
        settings = Dict({'threshold': parameters.get('threshold', THRESHOLD)})
        others = {'confirmation': self.ctx.confirmed.outputs.output_parameters} if 'confirmed' in self.ctx else {}
        self.ctx.tree = tree(self.ctx.family, settings, **others)
        self.out('output_tree', self.ctx.tree)
        self.out('crystals', self.ctx.crystals)

    def should_run_phonons(self) -> bool:
        """Whether bands are asked for, and any crystal is stable."""
        return 'phonon' in self.inputs and bool(self._stable(self.ctx.tree))

    def run_phonons(self) -> ToContext:
        """Bands, density of states and thermal properties of the stable crystals."""
        inputs = AttributeDict(self.exposed_inputs(PhononWorkChain, 'phonon'))
        inputs.structures = {key: self.ctx.crystals[key] for key in self._stable(self.ctx.tree)}
        inputs.potential = self.inputs.potential
        inputs.metadata = {**inputs.get('metadata', {}), 'call_link_label': 'phonon'}
        running = self.submit(PhononWorkChain, **inputs)
        self.report(f'phonons of {len(inputs.structures)} crystals: {running.process_label}<{running.pk}>')
        return ToContext(phonons=running)

    def inspect_phonons(self) -> ExitCode | None:
        """Hand on what is there."""
        child = self.ctx.phonons
        missing = PhononWorkChain.spec().exit_codes.ERROR_SOME_CRYSTALS_FAILED.status
        if not child.is_finished or child.exit_status not in (0, missing):
            return self.exit_codes.ERROR_SUB_PROCESS_FAILED.format(
                label=child.process_label, pk=child.pk, status=child.exit_status
            )
        for name in ('output_force_constants', *OUTPUTS):
            if name in child.outputs:
                self.out(name, dict(child.outputs[name]))
        return None

    @staticmethod
    def _stable(family: Dict) -> list[str]:
        return [crystal_key(node['identifier']) for node in family['nodes'] if node['verdict'] == 'stable']

    def _take(self, made: dict[str, Any]) -> None:
        """The new family, and its new crystals as the next frontier."""
        new = dict(made.get('crystals', {}))
        self.ctx.family = made['family']
        self.ctx.crystals = {**self.ctx.crystals, **new}
        self.ctx.frontier = sorted(new)
        self.report(f'generation {self.ctx.generation}: {len(new)} new crystals')
        self.ctx.generation += 1

    def _submit(
        self, process: type[WorkChain], namespace: str, name: str, structures: dict[str, Any], **changes: Any
    ) -> ToContext:
        """Start a step on crystals; it will be in the context as ``name``."""
        inputs = AttributeDict(self.exposed_inputs(process, namespace))
        inputs[NAMESPACE].update({'structures': structures, 'potential': self.inputs.potential, **changes})
        inputs.metadata = {**inputs.get('metadata', {}), 'call_link_label': f'{name}_{self.ctx.generation}'}
        running = self.submit(process, **inputs)
        self.report(f'{namespace} of {len(structures)} crystals: {running.process_label}<{running.pk}>')
        return ToContext(**{name: running})

    def _failure(self, child: Any) -> ExitCode | None:
        """An exit code unless the child finished, be it with some crystals failed."""
        codes = child.process_class.spec().exit_codes
        accepted = (0, codes.ERROR_SOME_STRUCTURES_FAILED.status, codes.ERROR_SOME_STRUCTURES_KILLED.status)
        if child.is_finished and child.exit_status in accepted:
            return None
        return self.exit_codes.ERROR_SUB_PROCESS_FAILED.format(
            label=child.process_label, pk=child.pk, status=child.exit_status
        )
