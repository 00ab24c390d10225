"""Many nodes in few statements: what is read is what is stored, also by somebody else meanwhile."""

from contextlib import contextmanager

import pytest
from aiida.orm import Dict, Int, QueryBuilder
from ase.build import bulk
from sqlalchemy import event

from aiida_mlfc.data.reading import nodes_in, read_again, read_each

COUNT = 30


@pytest.fixture
def structures(aiida_profile_clean, make_structure):
    """Stored ones, forgotten by the session as after any commit."""
    nodes = {f's{k}': make_structure(bulk('Si', 'diamond', a=5.4 + 0.01 * k), f'silicon {k}') for k in range(COUNT)}
    Int(1).store()
    return nodes


@contextmanager
def statements(node):
    """The SELECT statements that the database is asked."""
    engine = node.backend.get_session().get_bind()
    found = []

    def note(connection, cursor, statement, *others):
        if statement.startswith('SELECT'):
            found.append(statement)

    event.listen(engine, 'before_cursor_execute', note)
    try:
        yield found
    finally:
        event.remove(engine, 'before_cursor_execute', note)


def test_identities_of_many_by_one_statement(structures):
    nodes = list(structures.values())
    with statements(nodes[0]) as found:
        read_again(nodes)
        uuids = {node.uuid for node in nodes if node.is_stored}
    assert len(found) == 1
    assert uuids == set(QueryBuilder().append(type(nodes[0]), project='uuid').all(flat=True))
    Int(1).store()
    with statements(nodes[0]) as found:
        assert all(node.is_stored for node in nodes)
    # what it saves
    assert len(found) == COUNT


def test_attributes_of_many_by_few_statements(structures):
    some = structures['s0']
    alone = {key: (node.get_ase(), node.label) for key, node in structures.items()}
    Int(1).store()
    with statements(some) as found:
        read = read_each(structures, lambda key: (structures[key].get_ase(), structures[key].label))
    assert len(found) <= 4
    assert read == alone
    assert list(read) == list(structures)
    assert read_each({}, None) == {}


def test_what_another_process_has_changed_is_seen(structures):
    from aiida.orm.entities import EntityTypes

    node = structures['s1']
    assert node.label == 'silicon 1'
    node.backend.bulk_update(EntityTypes.NODE, [{'id': node.pk, 'label': 'renamed'}])
    assert read_each(structures, lambda key: structures[key].label)['s1'] == 'renamed'


def test_nodes_that_are_not_stored_stay_as_they_are(structures):
    new = Dict({'a': 1})
    read_again([*structures.values(), new])
    assert not new.is_stored
    assert new.get_dict() == {'a': 1}


def test_nodes_in_any_depth():
    first, second = Int(1), Int(2)
    assert list(nodes_in({'a': {'b': [first, 'text']}, 'c': (second, None), 'd': 3})) == [first, second]
