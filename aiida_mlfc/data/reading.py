"""Reading many nodes with one statement. AiiDA asks the database anew, node by node, at nearly every look at one:

- every commit, and every query ends with one, makes SQLAlchemy forget all nodes, also what never changes of them;
- outside of transactions attributes and labels are read again at each look, for another process might change them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from aiida.orm import Node, QueryBuilder
from aiida.storage.psql_dos.orm.utils import disable_expire_on_commit
from sqlalchemy import inspect

from aiida_mlfc.data.facts import chunks

#: nodes for which a statement of their own is not worth it
_FEW = 3
#: nodes that are read in one transaction
_AT_ONCE = 25
T = TypeVar('T')


def read_again(nodes: Iterable[Node]) -> None:
    """Load again what was forgotten of stored nodes, in one statement for hundreds; others are left as they are."""
    nodes = list(nodes)
    states = [inspect(node.backend_entity.bare_model) for node in nodes]
    pks = sorted({state.identity[0] for state in states if state.identity is not None and state.expired})
    if len(pks) <= _FEW:
        return
    # What a query finds brings the objects up to date that the session has. What can change is read again by AiiDA
    # whenever it is looked at, so that the rest may stay.
    with disable_expire_on_commit(nodes[0].backend.get_session()):
        for some in chunks(pks):
            QueryBuilder().append(Node, filters={'id': {'in': some}}, project='*').all()


def read_each(nodes: Mapping[str, Node], read: Callable[[str], T]) -> dict[str, T]:
    """What a function reads of each of many stored nodes, their attributes and labels looked up once.

    In transactions, in which nothing is looked up twice, and short ones: sqlite lets nobody write meanwhile.

    :param read: something quick, from the key.
    """
    found: dict[str, T] = {}
    keys = list(nodes)
    for start in range(0, len(keys), _AT_ONCE):
        some = keys[start : start + _AT_ONCE]
        with nodes[some[0]].backend.transaction():
            read_again(nodes[key] for key in some)
            found |= {key: read(key) for key in some}
    return found


def nodes_in(data: Any) -> Iterator[Node]:
    """All nodes in mappings and lists, however deep."""
    if isinstance(data, Node):
        yield data
    elif isinstance(data, Mapping):
        for value in data.values():
            yield from nodes_in(value)
    elif isinstance(data, (list, tuple)):
        for value in data:
            yield from nodes_in(value)
