"""Many nodes and many links at once: a few statements in one transaction instead of a dozen queries for each.

AiiDA checks every link with two queries and commits it. Its own archive import goes the way taken here
(``bulk_insert`` of the storage backend), on sqlite and PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiida.common.hashing import make_hash
from aiida.common.links import LinkType, validate_link_label
from aiida.orm import CalculationNode, Data, Node, QueryBuilder, WorkflowNode
from aiida.orm.entities import EntityTypes

#: columns of a node that are taken over as they are
_COLUMNS = ('node_type', 'process_type', 'label', 'description', 'ctime', 'mtime', 'attributes')


def store_many(nodes: Sequence[Data], creator: CalculationNode | None = None, labels: Sequence[str] = ()) -> None:
    """Store new data nodes, and link them to the calculation that made them; all or nothing.

    :param labels: of the links, one for each node.
    :raises ValueError: if one is stored already, or the labels do not fit.
    """
    if creator is not None and (len(labels) != len(nodes) or len(set(labels)) != len(labels)):
        raise ValueError(f'got {len(set(labels))} different labels for {len(nodes)} nodes')
    if not nodes:
        return
    for label in labels:
        validate_link_label(label)
    rows = [_row(node) for node in nodes]
    backend, links = nodes[0].backend, []
    with backend.transaction():
        backend.bulk_insert(EntityTypes.NODE, rows)
        uuids = [row['uuid'] for row in rows]
        query = QueryBuilder().append(Node, filters={'uuid': {'in': uuids}}, project=['uuid', '*'])
        found = dict(query.all())
        if creator is not None:
            links = [(creator.pk, found[uuid].pk, label) for uuid, label in zip(uuids, labels, strict=True)]
            _insert_links(backend, links, LinkType.CREATE)
    for node in nodes:
        # The object at hand becomes the stored one.
        node.backend_entity._model = found[node.uuid].backend_entity._model
        if backend.autogroup.is_to_be_grouped(node):
            backend.autogroup.get_or_create_group().add_nodes(node)


def _row(node: Data) -> dict[str, Any]:
    """The row of a node in the database, after its files went to the repository."""
    if node.is_stored:
        raise ValueError(f'{node}: got a node that is stored, wanted a new one')
    node._validate_storability()
    node._validate()
    node.backend_entity.clean_values()
    # As caching does before it stores: afterwards every file is looked up in the index of the repository.
    hashed = make_hash(node.base.caching.get_objects_to_hash())
    node.base.repository._store()
    model = node.backend_entity.bare_model
    return {
        **{column: getattr(model, column) for column in _COLUMNS},
        'uuid': str(model.uuid),
        'extras': {**model.extras, node.base.caching._HASH_EXTRA_KEY: hashed},
        'repository_metadata': model.repository_metadata or {},
        'dbcomputer_id': node.computer.pk if node.computer is not None else None,
        'user_id': node.user.pk,
    }


def _insert_links(backend: Any, links: Sequence[tuple[int, int, str]], kind: LinkType) -> None:
    """Source, target and label of each."""
    rows = [{'input_id': a, 'output_id': b, 'label': label, 'type': kind.value} for a, b, label in links]
    if rows:
        backend.bulk_insert(EntityTypes.LINK, rows)


def _linked(node: Node, kind: LinkType) -> set[str]:
    """Labels of the outputs that a process has."""
    query = QueryBuilder()
    query.append(Node, filters={'id': node.pk}, tag='process')
    query.append(Data, with_incoming='process', edge_filters={'type': kind.value}, edge_project='label')
    return set(query.all(flat=True))


def return_many(node: WorkflowNode, outputs: Mapping[str, Data]) -> None:
    """Link stored data nodes as outputs of a work chain, those that are not linked yet.

    :param outputs: by link label.
    :raises ValueError: if a node is not stored: a work chain returns what calculations made.
    """
    known, links = _linked(node, LinkType.RETURN), []
    for label, output in outputs.items():
        if label in known:
            continue
        if not isinstance(output, Data) or not output.is_stored:
            raise ValueError(f'output {label}: got {output!r}, wanted a stored data node')
        validate_link_label(label)
        links.append((node.pk, output.pk, label))
    _insert_links(node.backend, links, LinkType.RETURN)


def create_many(node: CalculationNode, outputs: Mapping[str, Data]) -> None:
    """Store new data nodes as outputs of a calculation, those that are not there yet.

    :param outputs: by link label.
    """
    known = _linked(node, LinkType.CREATE)
    new = {label: output for label, output in outputs.items() if label not in known}
    for label in [label for label, output in new.items() if output.is_stored]:
        # such as the folder of the job
        new.pop(label).base.links.add_incoming(node, LinkType.CREATE, label)
    store_many(list(new.values()), node, list(new))
