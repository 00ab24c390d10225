"""``mlfc.active_learning``: screen -> what is uncertain or unstable -> reference -> training -> screen, in a loop."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from aiida.common import AttributeDict
from aiida.engine import ExitCode, ProcessBuilder, ToContext, WorkChain, append_, if_, while_
from aiida.orm import Dict, Float, StructureData, load_node
from aiida.plugins import WorkflowFactory
from aiida_phonopy.data import ForceConstantsData, PhonopyData

from aiida_mlfc.calculations.active_learning import active_learning_summary, error_where_asked, substitution_candidates
from aiida_mlfc.calculations.base import validate_keys
from aiida_mlfc.core.structures.candidates import distinct
from aiida_mlfc.core.structures.choosing import LEARNED, LOWER_BOUND, ActiveLearning, choose, overconfidence, scaled
from aiida_mlfc.data.outcomes import ScreenOutcome
from aiida_mlfc.data.potential import PotentialData
from aiida_mlfc.workchains.active_learning_engines import ENGINES, expose_engines, inputs_of_crystal
from aiida_mlfc.workchains.adopting import AdoptsChildren
from aiida_mlfc.workchains.job_options import set_job_options
from aiida_mlfc.workchains.phonon import fill_builder
from aiida_mlfc.workchains.restart import NAMESPACE
from aiida_mlfc.workchains.screen import ScreenWorkChain
from aiida_mlfc.workchains.train import TrainWorkChain

#: key of a new force set, before that of its crystal
NEW = 'asked_'


def validate_settings(node: Dict | None, port: Any) -> str | None:
    """Fields of :class:`ActiveLearning`."""
    try:
        ActiveLearning(**(node.get_dict() if node is not None else {}))
    except (TypeError, ValueError) as error:
        return f'settings: {error}; wanted {", ".join(field.name for field in fields(ActiveLearning))}'
    return None


class ActiveLearningWorkChain(AdoptsChildren, WorkChain):
    """Learn about crystals until the potential may be believed on all of them, or the budget is spent.

    References are computed for the structures that came in, not for those that a potential in doubt has relaxed: let
    the force engine relax them where they are no minima.
    """

    @classmethod
    def define(cls, spec: Any) -> None:
        """Inputs, outline, outputs."""
        super().define(spec)
        spec.input_namespace(
            'structures', valid_type=StructureData, dynamic=True, validator=validate_keys, help='Candidates, and seeds.'
        )
        spec.input('candidates', valid_type=Dict, required=False, help='Substitutions: elements, threshold, per_seed.')
        spec.input('potential', valid_type=PotentialData, required=False, help='Without it, training comes first.')
        spec.input_namespace(
            'force_sets',
            valid_type=(PhonopyData, ForceConstantsData),
            dynamic=True,
            required=False,
            help='Learned from in every training.',
        )
        spec.input('settings', valid_type=Dict, default=lambda: Dict({}), validator=validate_settings)
        spec.input('supercell_length', valid_type=Float, default=lambda: Float(9.5), help='Of references, Å.')
        spec.expose_inputs(ScreenWorkChain, namespace='screen', exclude=('structures', 'potential', 'nac_params'))
        spec.expose_inputs(TrainWorkChain, namespace='train', exclude=(f'{NAMESPACE}.force_sets',))
        expose_engines(spec)
        spec.inputs.validator = cls._validate
        spec.outline(
            cls.setup,
            if_(cls.has_no_potential)(cls.run_training, cls.inspect_training),
            cls.run_screen,
            cls.inspect_screen,
            while_(cls.should_ask)(
                cls.run_references,
                cls.inspect_references,
                if_(cls.has_learned_nothing)(cls.stop).else_(
                    cls.run_training, cls.inspect_training, cls.run_screen, cls.inspect_screen
                ),
            ),
            cls.results,
        )
        spec.output('potential', valid_type=PotentialData, help='The last one.')
        spec.output_namespace('force_sets', valid_type=PhonopyData, dynamic=True, help='The new ones.')
        spec.output('summary', valid_type=Dict, help='rounds, and why it stopped.')
        spec.exit_code(400, 'ERROR_TRAINING_FAILED', message='{label}<{pk}> failed with exit status {status}.')
        spec.exit_code(412, 'ERROR_NO_REFERENCE', message='None of the references of round {number} was computed.')
        spec.exit_code(
            413, 'ERROR_BUDGET_SPENT', message='{n_left} crystals are still uncertain or unstable; {reason}.'
        )

    @classmethod
    def _validate(cls, inputs: Any, port: Any) -> str | None:
        given = [name for name in ENGINES if name in inputs]
        if len(given) != 1:
            return f'got {" and ".join(given) or "no force engine"}, wanted one of {", ".join(ENGINES)}'
        if 'potential' not in inputs and not inputs.get('force_sets'):
            return 'got neither a potential nor force sets, wanted something to begin with'
        if twice := [key for key in inputs.get('force_sets', {}) if key.startswith(NEW)]:
            return f'force_sets: {twice[0]} begins with {NEW}, as new ones do; call it otherwise'
        return None

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: Any,
        structures: dict[str, StructureData],
        potential: PotentialData | None = None,
        protocol: str | None = None,
        overrides: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
        relax: bool = True,
        training: dict[str, Any] | None = None,
    ) -> ProcessBuilder:
        """A builder without its force engine: fill ``ase_reference`` in, or ``dft_reference`` by
        :func:`~.active_learning_engines.fill_dft_reference`.

        :param code: the ``mlfc-run`` code, a node or its label.
        :param protocol: of the screen; ``overrides`` are laid over it.
        :param options: ``metadata.options`` of the jobs, and ``workers``: processes in a job, a number or ``auto``;
            a training is one process whatever it says.
        :param training: see :class:`~aiida_mlfc.exchange.training_options.TrainOptions`.
        """
        from aiida.orm import load_code

        builder = cls.get_builder()
        code = load_code(code) if isinstance(code, str) else code
        builder.structures = dict(structures)
        fill_builder(builder.screen, code, None, protocol, overrides, options, relax, None)
        # each round has its own
        builder.screen.pop('potential')
        builder.train[NAMESPACE].code = code
        builder.train[NAMESPACE].parameters = Dict(training or {})
        set_job_options([builder.train[NAMESPACE]], options)
        if potential is not None:
            builder.potential = potential
        return builder

    def setup(self) -> None:
        """Candidates, each once."""
        structures = dict(self.inputs.structures)
        if 'candidates' in self.inputs:
            structures |= substitution_candidates(settings=self.inputs.candidates, **structures)
        kept = distinct({key: node.get_ase() for key, node in structures.items()})
        if dropped := sorted(set(structures) - set(kept)):
            self.report(f'the same crystal as another: {", ".join(dropped)}')
        self.ctx.structures = {key: structures[key] for key in kept}
        self.ctx.rule = self.inputs.settings.get_dict()
        self.ctx.potential = self.inputs.get('potential', None)
        self.ctx.force_sets, self.ctx.asked, self.ctx.rounds, self.ctx.stopped = {}, [], [], None

    @property
    def rule(self) -> ActiveLearning:
        """When to ask, and when to stop."""
        return ActiveLearning(**self.ctx.rule)

    def has_no_potential(self) -> bool:
        """Whether training comes first."""
        return self.ctx.potential is None

    def run_training(self) -> ToContext:
        """Learn from everything that there is."""
        inputs = AttributeDict(self.exposed_inputs(TrainWorkChain, 'train'))
        inputs[NAMESPACE]['force_sets'] = {**self.inputs.get('force_sets', {}), **self.ctx.force_sets}
        inputs.metadata = {'call_link_label': f'train_{len(self.ctx.rounds):02d}'}
        running = self.submit(TrainWorkChain, **inputs)
        self.report(f'training on {len(inputs[NAMESPACE]["force_sets"])} force sets: TrainWorkChain<{running.pk}>')
        return ToContext(training=running)

    def inspect_training(self) -> ExitCode | None:
        """Go on with the new potential, even if some sets were refused: the work chain of the training names them."""
        child = self.ctx.training
        if 'output_potential' not in child.outputs:
            return self.exit_codes.ERROR_TRAINING_FAILED.format(
                label=child.process_label, pk=child.pk, status=child.exit_status
            )
        self.ctx.potential = child.outputs.output_potential
        return None

    def run_screen(self) -> ToContext:
        """All candidates with the present potential."""
        inputs = AttributeDict(self.exposed_inputs(ScreenWorkChain, 'screen'))
        inputs.structures, inputs.potential = self.ctx.structures, self.ctx.potential
        inputs.metadata = {**inputs.get('metadata', {}), 'call_link_label': f'screen_{len(self.ctx.rounds):02d}'}
        running = self.submit(ScreenWorkChain, **inputs)
        self.report(f'{len(self.ctx.structures)} crystals: ScreenWorkChain<{running.pk}>')
        return ToContext(screen=running)

    def inspect_screen(self) -> None:
        """Whom to ask about."""
        outcome, rule = ScreenOutcome(self.ctx.screen), self.rule
        rows = {key: outcome.row(key) for key in self.ctx.structures}
        calibrated_on = (self.ctx.potential.card.get('uncertainty') or {}).get('calibrated on')
        is_lower_bound = (calibrated_on or '').startswith(LEARNED)
        factor = overconfidence(self._stated_and_found(), LOWER_BOUND if is_lower_bound else 1.0)
        counted = scaled(rows, factor)
        unlimited = ActiveLearning(**{**self.ctx.rule, 'per_round': len(rows), 'max_references': 10**9})
        open_ones, chosen = choose(counted, self.ctx.asked, unlimited), choose(counted, self.ctx.asked, rule)
        said = ('min_frequency', 'uncertainty', 'status')
        self.ctx.rounds.append({
            'screen': self.ctx.screen.uuid,
            'potential_sha256': self.ctx.potential.sha256,
            # how far the uncertainties below may be trusted, and what they were multiplied by
            'calibrated on': calibrated_on,
            'factor': factor,
            'crystals': {key: {name: row.get(name) for name in said} for key, row in rows.items()},
            'asked': dict(chosen),
            'open': dict(open_ones),
        })  # fmt: skip
        self.ctx.chosen = [key for key, _ in chosen]
        if not open_ones:
            self.ctx.stopped = 'converged'
        elif not chosen:
            self.ctx.stopped = 'budget: max_references'
        elif len(self.ctx.rounds) > rule.max_rounds:
            self.ctx.stopped = 'budget: max_rounds'

    def _stated_and_found(self) -> list[tuple[float, float]]:
        found = [error for done in self.ctx.rounds for error in done.get('errors', {}).values()]
        return [(error['uncertainty'], error['frequency_rms']) for error in found if len(error) > 1]

    def should_ask(self) -> bool:
        """Whether anything is open that may still be asked."""
        return self.ctx.stopped is None

    def run_references(self) -> None:
        """Force constants of the chosen ones by the force engine."""
        name = next(name for name in ENGINES if name in self.inputs)
        engine = WorkflowFactory(ENGINES[name])
        self.ctx.references = []
        for key, reason in self.ctx.rounds[-1]['asked'].items():
            common = AttributeDict(self.exposed_inputs(engine, name))
            inputs = inputs_of_crystal(common, self.ctx.structures[key], key, self.inputs.supercell_length.value)
            inputs.metadata = {**inputs.get('metadata', {}), 'call_link_label': f'reference_{key}'}
            running = self.submit(engine, **inputs)
            self.report(f'{key}, {reason}: {engine.__name__}<{running.pk}>')
            self.to_context(references=append_(running))

    def inspect_references(self) -> ExitCode | None:
        """Keep what was computed; what failed is not asked again.

        What the engine relaxed is from now on looked at where it is at rest: there the potential has learned it.
        """
        self.ctx.asked = [*self.ctx.asked, *self.ctx.chosen]
        failed, relaxed, errors, outcome = {}, {}, {}, ScreenOutcome(self.ctx.screen)
        for key, child in zip(self.ctx.chosen, self.ctx.references, strict=True):
            if child.is_finished_ok:
                self.ctx.force_sets[f'{NEW}{key}'] = child.outputs.phonopy_data
                errors[key] = self._error(outcome.row(key), child)
                if 'output_structure' in child.outputs:
                    node = child.outputs.output_structure
                    node.label = node.label or self.ctx.structures[key].label
                    self.ctx.structures[key], relaxed[key] = node, node.uuid
            else:
                failed[key] = f'{child.process_label}<{child.pk}>: {child.exit_message or child.process_state.value}'
        self.ctx.rounds[-1] |= {'failed': failed, 'relaxed': relaxed, 'errors': errors}
        self.ctx.n_new = len(self.ctx.chosen) - len(failed)
        return None

    @staticmethod
    def _error(row: Any, reference: Any) -> dict[str, float]:
        """How wrong the potential was that asked, and how uncertain it was; nothing where it knew nothing."""
        if row.get('uncertainty') is None or row.get('force_constants_uuid') is None:
            return {}
        predicted = load_node(row['force_constants_uuid'])
        found = error_where_asked(predicted=predicted, computed=reference.outputs.force_constants).get_dict()
        return {'uncertainty': row['uncertainty'], **found}

    def has_learned_nothing(self) -> bool:
        """Whether no reference of the round came out."""
        return self.ctx.n_new == 0

    def stop(self) -> ExitCode:
        """Without new data the loop would turn for ever."""
        self.ctx.stopped = 'no reference'
        self._hand_out()
        return self.exit_codes.ERROR_NO_REFERENCE.format(number=len(self.ctx.rounds))

    def _hand_out(self) -> None:
        self.out('potential', self.ctx.potential)
        for key, node in self.ctx.force_sets.items():
            self.out(f'force_sets.{key}', node)
        content = {'rounds': list(self.ctx.rounds), 'stopped': self.ctx.stopped, 'settings': dict(self.ctx.rule)}
        self.out('summary', active_learning_summary(Dict(content)))

    def results(self) -> ExitCode | None:
        """Success means: the potential may be believed on every candidate that was not referenced."""
        self._hand_out()
        if self.ctx.stopped == 'converged':
            return None
        n_left = len(self.ctx.rounds[-1]['open'])
        return self.exit_codes.ERROR_BUDGET_SPENT.format(n_left=n_left, reason=self.ctx.stopped)
