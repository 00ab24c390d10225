"""What became of each crystal of a screen, read back from provenance: rows, phonons, and the way back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

from aiida.common.links import LinkType
from aiida.orm import ArrayData, CalcJobNode, Node, ProcessNode, QueryBuilder, StructureData, WorkChainNode

from aiida_mlfc.data.crystals import crystal_summary
from aiida_mlfc.data.facts import FORCE_CONSTANTS, Facts, facts_of, force_constants, stabilities
from aiida_mlfc.data.phonons import BANDS, OUTPUTS
from aiida_mlfc.data.potential import PotentialData
from aiida_mlfc.data.potential_card import Card
from aiida_mlfc.reports.rows import Row, failed_row, row_from_values


class ScreenOutcome:
    """A terminated or running screen (or single phonon work chain), looked at once.

    :param process: node of ``mlfc.screen`` or ``mlfc.phonon``.
    :param facts: what is known of it already; asked for here if it is not given.
    """

    def __init__(self, process: WorkChainNode, facts: Facts | None = None) -> None:
        self.process = process
        pk: Any = process.pk
        self._facts = facts if facts is not None else facts_of([pk])[pk]
        #: content of the stability node and what is known of the force constants, by key; read when first asked for
        self._numbers: tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]] | None = None

    @classmethod
    def of(cls, processes: Iterable[WorkChainNode]) -> list[ScreenOutcome]:
        """Many at once, with as many queries as for one."""
        processes = list(processes)
        facts = facts_of([process.pk for process in processes])
        outcomes = [cls(process, facts[process.pk]) for process in processes]
        _share_potentials(outcomes)
        return outcomes

    @property
    def keys(self) -> list[str]:
        """Of the crystals, in the same order wherever the screen was imported."""
        return sorted(self._facts.structures)

    @cached_property
    def potential(self) -> PotentialData:
        """With which it was done."""
        return self.process.base.links.get_incoming(link_label_filter='potential').one().node

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
        """Whether the crystal has phonons or a stated error of its own."""
        return key in self._facts.finished or self._own_error(key) is not None

    def structure_uuids(self) -> set[str]:
        """Of all crystals."""
        return {known['uuid'] for known in self._facts.structures.values()}

    def _steps(self, key: str) -> list[dict[str, Any]]:
        return self._facts.parameters.get(key, [])

    def _own_error(self, key: str) -> str | None:
        failed = [row for row in self._steps(key) if row['status'] == 'failed']
        return str(failed[-1]['error']['message']) if failed else None

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
        _load_numbers([self])
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
            return failed_row(name, self._own_error(key) or self._why_nothing(), **known)
        stability, made = (part[key] for part in self._numbers)
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
        return Card(self.potential.card)

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


def rows_of(outcomes: Sequence[ScreenOutcome]) -> Iterator[tuple[Row, ScreenOutcome, str]]:
    """Every row of many screens with its outcome and key; the database is asked once for all of them."""
    _load_numbers(outcomes)
    for outcome in outcomes:
        for key in outcome.keys:
            yield outcome.row(key), outcome, key


def _load_numbers(outcomes: Sequence[ScreenOutcome]) -> None:
    waiting = [outcome for outcome in outcomes if outcome._numbers is None]
    if not waiting:
        return
    pks = [outcome.process.pk for outcome in waiting]
    stable, made = stabilities(pks), force_constants(pks)
    for outcome in waiting:
        outcome._numbers = stable[outcome.process.pk], made[outcome.process.pk]


def _share_potentials(outcomes: Sequence[ScreenOutcome]) -> None:
    """Load each potential once, not once a screen: its card can be long."""
    if not outcomes:
        return
    query = QueryBuilder()
    query.append(WorkChainNode, filters={'id': {'in': [o.process.pk for o in outcomes]}}, tag='process', project='id')
    query.append(PotentialData, with_outgoing='process', edge_filters={'type': LinkType.INPUT_WORK.value}, project='id')
    of_process = dict(query.all())
    potentials = _nodes(list(set(of_process.values())))
    cards = {pk: Card(node.card) for pk, node in potentials.items()}
    for outcome in outcomes:
        pk = of_process[outcome.process.pk]
        outcome.potential, outcome._card = potentials[pk], cards[pk]


def _nodes(pks: Sequence[int]) -> dict[int, Any]:
    """Nodes by primary key."""
    if not pks:
        return {}
    query = QueryBuilder().append(Node, filters={'id': {'in': list(pks)}}, project=['id', '*'])
    return dict(query.all())


def relaxation_warnings(steps: list[dict[str, Any]]) -> list[str]:
    """What a relaxation had to say, from the results of all tasks of one crystal."""
    return [f'relaxed by BFGS; Newton gave up: {step["fallback"]}' for step in steps if step.get('fallback')]


def _creator(node: Any) -> str:
    creator: ProcessNode | None = node.creator
    return f'{creator.process_label}<{creator.pk}>' if creator is not None else 'nobody'
