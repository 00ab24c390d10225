"""What became of each crystal of a screen, read back from provenance: rows, phonons, and the way back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

from aiida.common.links import LinkType
from aiida.orm import ArrayData, CalcJobNode, Node, ProcessNode, QueryBuilder, StructureData, WorkChainNode

from aiida_mlfc.data.crystals import crystal_summary
from aiida_mlfc.data.facts import FORCE_CONSTANTS, Facts, facts_of, force_constants, stabilities
from aiida_mlfc.data.kept_rows import keep, kept
from aiida_mlfc.data.phonons import BANDS, OUTPUTS
from aiida_mlfc.data.potential import PotentialData
from aiida_mlfc.data.potential_card import Card
from aiida_mlfc.exchange.errors import OF_THE_MACHINE, UNREADABLE
from aiida_mlfc.reports.rows import Row, failed_row, row_from_values


class ScreenOutcome:
    """A terminated or running screen (or single phonon work chain), looked at once.

    :param process: node of ``mlfc.screen`` or ``mlfc.phonon``.
    :param batch: those that are asked for together with it; by default it alone.
    """

    def __init__(self, process: WorkChainNode, batch: _Batch | None = None) -> None:
        self.process = process
        self._batch = batch if batch is not None else _Batch([process])

    @classmethod
    def of(cls, processes: Iterable[WorkChainNode]) -> list[ScreenOutcome]:
        """Many at once, with as many queries as for one, and none before something is asked for."""
        batch = _Batch(list(processes))
        return [cls(process, batch) for process in batch.processes]

    @cached_property
    def _facts(self) -> Facts:
        return self._batch.facts[self.process.pk]

    @property
    def keys(self) -> list[str]:
        """Of the crystals, in the same order wherever the screen was imported."""
        return sorted(self._facts.structures)

    @cached_property
    def potential(self) -> PotentialData:
        """With which it was done."""
        return self._batch.potentials[self.process.pk]

    @cached_property
    def structures(self) -> dict[str, StructureData]:
        """The input structures by key; loads all of them."""
        nodes = _nodes([known['pk'] for known in self._facts.structures.values()])
        return {key: nodes[known['pk']] for key, known in self._facts.structures.items()}

    @cached_property
    def nac_params(self) -> dict[str, ArrayData]:
        """Born charges by key, where there are any."""
        links = self.process.base.links.get_incoming(
            link_type=LinkType.INPUT_WORK, link_label_filter='nac\\_params\\_\\_%'
        )
        return {link.link_label.removeprefix('nac_params__'): link.node for link in links.all()}

    @cached_property
    def jobs(self) -> list[CalcJobNode]:
        """All jobs, oldest first."""
        jobs = [node for node in self.process.called_descendants if isinstance(node, CalcJobNode)]
        return sorted(jobs, key=lambda node: node.pk)

    def is_done(self, key: str) -> bool:
        """Whether the crystal has phonons or an error of its own: one that would come again."""
        if key in self._facts.finished:
            return True
        error = self._own_error(key)
        return error is not None and error.get('type') not in (*OF_THE_MACHINE, UNREADABLE)

    def structure_uuids(self) -> dict[str, str]:
        """Of all crystals, by key."""
        return {key: known['uuid'] for key, known in self._facts.structures.items()}

    def _steps(self, key: str) -> list[dict[str, Any]]:
        return self._facts.parameters.get(key, [])

    def _own_error(self, key: str) -> dict[str, Any] | None:
        """``type`` and ``message`` of what the last job to report on the crystal said: a failure may be mended by the
        next job."""
        steps = self._steps(key)
        return dict(steps[-1]['error']) if steps and steps[-1]['status'] == 'failed' else None

    def phonons(self, key: str) -> Any:
        """The :class:`~aiida_mlfc.core.phonons.record.Phonons` of a crystal that has them.

        :raises KeyError: if it has none.
        """
        from aiida_mlfc.data.phonons import phonon_record

        nodes = self._outputs(key)
        if BANDS not in nodes:
            raise KeyError(key)
        return phonon_record(nodes)

    def _outputs(self, key: str) -> dict[str, Node]:
        labels = [f'{name}__{key}' for name in (FORCE_CONSTANTS, *OUTPUTS)]
        query = QueryBuilder()
        query.append(WorkChainNode, filters={'id': self.process.pk}, tag='process')
        query.append(
            Node,
            with_incoming='process',
            edge_filters={'type': LinkType.RETURN.value, 'label': {'in': labels}},
            edge_project='label',
            project='*',
        )
        return {label.removesuffix(f'__{key}'): node for node, label in query.all()}

    def row(self, key: str, name: str | None = None) -> Row:
        """The row of one crystal.

        :param name: what to call it, by default the label of its structure.
        """
        structure = self._facts.structures[key]
        name = name or structure['label']
        summary = structure['summary'] or crystal_summary(self.structures[key])
        known = {
            'formula': summary['formula'],
            'n_atoms': summary['n_atoms'],
            'spacegroup': summary['spacegroup'],
            **self._made_with,
            'structure_uuid': structure['uuid'],
        }
        if key not in self._facts.finished:
            error = self._own_error(key)
            return failed_row(name, str(error['message']) if error else self._why_nothing(), **known)
        stability, made = (part[self.process.pk][key] for part in self._batch.numbers)
        steps = self._steps(key)
        return row_from_values(
            name,
            stability,
            made['quality'],
            supercell_matrix=[[round(x) for x in line] for line in made['supercell_matrix']],
            seconds=sum(step['seconds'] for step in steps),
            force_constants_uuid=made['uuid'],
            warnings=[
                *stability['warnings'],
                *relaxation_warnings(steps),
                *self._card.warnings(summary['formula'], summary['spacegroup']),
            ],
            **known,
        )

    @cached_property
    def _card(self) -> Card:
        return self._batch.cards[self.potential.uuid]

    @cached_property
    def _made_with(self) -> dict[str, str]:
        """Read once: AiiDA asks the database whenever an attribute is looked at."""
        return {'potential': self.potential.name, 'potential_sha256': self.potential.sha256}

    def _why_nothing(self) -> str:
        """For a crystal that no job reported on: what ended the process."""
        for node in [*reversed(self.jobs), self.process]:
            if node.is_failed and node.exit_message:
                return f'{node.process_label}<{node.pk}>: {node.exit_message}'
            if node.is_excepted:
                return f'{node.process_label}<{node.pk}> excepted: {node.exception}'
            if node.is_killed:
                return f'{node.process_label}<{node.pk}> was killed'
        state = self.process.process_state.value if self.process.process_state else 'unknown'
        return f'no result yet: {self.process.process_label}<{self.process.pk}> is {state}'

    def provenance(self, key: str) -> dict[str, str]:
        """The way back from the numbers of one crystal, as text."""
        structure = self._facts.structures[key]
        way = {
            'structure': f'StructureData {structure["uuid"]}',
            'read from': str(structure['source'] or 'not recorded'),
            'potential': f'{self.potential.name}, PotentialData {self.potential.uuid}, sha256 {self.potential.sha256}',
        }
        nodes = self._outputs(key)
        for name, label in ((FORCE_CONSTANTS, 'force constants'), (BANDS, 'phonon bands')):
            if name in nodes:
                node = nodes[name]
                way[label] = f'{type(node).__name__} {node.uuid}, made by {_creator(node)}'
        way['work chain'] = f'{self.process.process_label} {self.process.uuid}'
        return way


class _Batch:
    """What is known of several screens; the database is asked once for all of them, when it is first needed."""

    def __init__(self, processes: list[WorkChainNode]) -> None:
        self.processes = processes
        self._pks: list[Any] = [process.pk for process in processes]

    @cached_property
    def facts(self) -> dict[int, Facts]:
        return facts_of(self._pks)

    @cached_property
    def numbers(self) -> tuple[dict[int, dict[str, dict[str, Any]]], dict[int, dict[str, dict[str, Any]]]]:
        """Content of the stability nodes, and what is known of the force constants, by process and key."""
        return stabilities(self._pks), force_constants(self._pks)

    @cached_property
    def potentials(self) -> dict[int, PotentialData]:
        """By process; each is loaded once: its card can be long."""
        query = QueryBuilder()
        query.append(WorkChainNode, filters={'id': {'in': self._pks}}, tag='process', project='id')
        query.append(
            PotentialData, with_outgoing='process', edge_filters={'type': LinkType.INPUT_WORK.value}, project='id'
        )
        of_process = dict(query.all())
        potentials = _nodes(list(set(of_process.values())))
        return {process: potentials[pk] for process, pk in of_process.items()}

    @cached_property
    def cards(self) -> dict[str, Card]:
        """By UUID of the potential."""
        return {potential.uuid: Card(potential.card) for potential in self.potentials.values()}


def rows_of(outcomes: Sequence[ScreenOutcome]) -> Iterator[tuple[Row, ScreenOutcome, str]]:
    """Every row of many screens with its outcome and key, and kept for the next time."""
    # Before anything is asked for: a screen that ends meanwhile is described as it was.
    ended = {outcome.process.pk for outcome in outcomes if outcome.process.is_finished}
    known = kept([outcome.process.pk for outcome in outcomes])
    fresh = {outcome.process.pk: outcome for outcome in outcomes if outcome.process.pk not in known}
    for outcome in ScreenOutcome.of([outcome.process for outcome in fresh.values()]):
        rows = {key: outcome.row(key) for key in outcome.keys}
        if outcome.process.pk in ended:
            keep(outcome.process, rows)
        known[outcome.process.pk] = rows
    for outcome in outcomes:
        for key, row in known[outcome.process.pk].items():
            yield row, outcome, key


def keep_rows(process: WorkChainNode) -> None:
    """Keep the rows of a screen that has just come to its end, so that the first table is as fast as the next."""
    if process.is_finished:
        # ``rows_of`` would believe what is kept already
        outcome = ScreenOutcome(process)
        keep(process, {key: outcome.row(key) for key in outcome.keys})


def _nodes(pks: Sequence[int]) -> dict[int, Any]:
    """Nodes by primary key."""
    if not pks:
        return {}
    query = QueryBuilder().append(Node, filters={'id': {'in': list(pks)}}, project=['id', '*'])
    return dict(query.all())


def relaxation_warnings(steps: list[dict[str, Any]]) -> list[str]:
    """What a relaxation had to say, from the results of all tasks of one crystal."""
    # of jobs that only relaxed, or that did all steps
    relaxations = [step if 'fallback' in step else step.get('relax', {}) for step in steps]
    return [f'relaxed by BFGS; Newton gave up: {found["fallback"]}' for found in relaxations if found.get('fallback')]


def _creator(node: Any) -> str:
    creator: ProcessNode | None = node.creator
    return f'{creator.process_label}<{creator.pk}>' if creator is not None else 'nobody'
