"""Copies of a finished screen of one crystal as screens of many, by bulk insertion: for measurements of queries."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from aiida.orm import Dict, Node, ProcessNode, QueryBuilder, StructureData, WorkChainNode
from aiida.orm.entities import EntityTypes

COLUMNS = (
    'node_type', 'process_type', 'label', 'description', 'ctime', 'mtime', 'attributes', 'extras',
    'repository_metadata', 'dbcomputer_id', 'user_id',
)  # fmt: skip


class Subgraph:
    """Everything below a screen of one crystal.

    :param screen: its node.
    """

    def __init__(self, screen: WorkChainNode) -> None:
        self.backend = screen.backend
        processes = {screen.pk: screen, **{node.pk: node for node in screen.called_descendants}}
        self.links = self._links(list(processes))
        pks = {pk for link in self.links for pk in link[:2]}
        query = QueryBuilder().append(Node, filters={'id': {'in': list(pks)}}, project='*')
        self.nodes = {node.pk: node for node in query.all(flat=True)}
        (structure,) = dict(screen.inputs.structures).items()
        self.key = structure[0]
        #: one for each crystal: named by its key in some link; the others are there once for each screen, or shared
        self.per_crystal = {
            pk for *ends, label, _ in self.links for pk in ends if label.endswith(f'__{self.key}')
        } - set(processes)
        self.rows = {
            pk for pk, node in self.nodes.items()
            if isinstance(node, Dict) and set(node.get_dict()) == {self.key}
        }  # fmt: skip
        self.per_screen = set(processes) | self.rows

    @staticmethod
    def _links(pks: list[int]) -> list[tuple[int, int, str, str]]:
        """Source, target, label and type of all links that touch the processes."""
        found = set()
        for direction in ('with_incoming', 'with_outgoing'):
            query = QueryBuilder()
            query.append(ProcessNode, filters={'id': {'in': pks}}, tag='process', project='id')
            query.append(Node, **{direction: 'process'}, project='id', edge_project=['label', 'type'])
            for process, other, label, kind in query.all():
                found.add((process, other, label, kind) if direction == 'with_incoming' else
                          (other, process, label, kind))  # fmt: skip
        return sorted(found)

    def copy(self, keys: list[str]) -> None:
        """One more screen, with a copy of the crystal for each key."""
        screen = self._insert([(pk, None) for pk in sorted(self.per_screen)], keys)
        single = self._insert([(pk, key) for pk in sorted(self.per_crystal) for key in keys], keys)
        rows = []
        for source, target, label, kind in self.links:
            ends = (source, target)
            for key in keys if self.per_crystal & set(ends) else [None]:
                new = [single.get((pk, key)) or screen.get((pk, None)) or pk for pk in ends]
                text = label if key is None else label.removesuffix(self.key) + key
                rows.append({'input_id': new[0], 'output_id': new[1], 'label': text, 'type': kind})
        self.backend.bulk_insert(EntityTypes.LINK, rows)

    def _insert(self, wanted: list[tuple[int, str | None]], keys: list[str]) -> dict[tuple[int, str | None], int]:
        rows = []
        for pk, key in wanted:
            node, uuid = self.nodes[pk], str(uuid4())
            model = node.backend_entity.bare_model
            row: dict[str, Any] = {column: getattr(model, column) for column in COLUMNS} | {'uuid': uuid}
            if pk in self.rows:
                row['attributes'] = dict.fromkeys(keys, node.get_dict()[self.key])
            if isinstance(node, StructureData) and 'mlfc_summary' in row['extras']:
                row['extras'] = {**row['extras'], 'mlfc_summary': {**row['extras']['mlfc_summary'], 'uuid': uuid}}
            rows.append(row | ({'label': key} if key is not None else {}))
        # The order in which the database returns new keys is not promised.
        inserted = self.backend.bulk_insert(EntityTypes.NODE, rows)
        query = QueryBuilder().append(Node, filters={'id': {'in': inserted}}, project=['uuid', 'id'])
        pks = dict(query.all())
        return {one: pks[row['uuid']] for one, row in zip(wanted, rows, strict=True)}
