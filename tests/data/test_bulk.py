"""Bulk storing and linking leave in the database what AiiDA's own way leaves."""

import numpy as np
import pytest
from aiida.common.links import LinkType
from aiida.orm import ArrayData, CalcFunctionNode, Dict, StructureData, WorkChainNode, load_node
from ase.build import bulk

from aiida_mlfc.data.bulk import create_many, return_many, store_many


def structures(count):
    nodes = [StructureData(ase=bulk('Si', 'diamond', a=5.4 + 0.01 * k)) for k in range(count)]
    for k, node in enumerate(nodes):
        node.label = f'silicon {k}'
        node.base.extras.set('number', k)
    return nodes


@pytest.mark.usefixtures('aiida_profile')
def test_stored_as_by_store():
    many, single = structures(5), structures(5)
    store_many(many)
    for found, node in zip(many, single, strict=True):
        node.store()
        assert found.is_stored
        assert found.base.attributes.all == node.base.attributes.all
        assert found.base.extras.all == node.base.extras.all
        assert (found.label, found.user.pk) == (node.label, node.user.pk)
        assert found.base.caching.get_hash() == node.base.caching.get_hash()
        assert load_node(found.uuid).get_ase() == node.get_ase()
    store_many([])


@pytest.mark.usefixtures('aiida_profile')
def test_files_are_stored_too():
    node, other = ArrayData({'a': np.arange(5.0)}), ArrayData({'a': np.arange(5.0)})
    store_many([node])
    other.store()
    np.testing.assert_array_equal(load_node(node.uuid).get_array('a'), np.arange(5.0))
    assert load_node(node.uuid).base.repository.metadata == other.base.repository.metadata
    assert node.base.caching.get_hash() == other.base.caching.get_hash()
    assert node.base.caching.compute_hash() == node.base.caching.get_hash()
    node.base.extras.set('later', 1)
    assert load_node(node.uuid).base.extras.get('later') == 1


@pytest.mark.usefixtures('aiida_profile')
def test_refusals():
    node = structures(1)[0].store()
    with pytest.raises(ValueError, match='wanted a new one'):
        store_many([node])
    process = CalcFunctionNode().store()
    with pytest.raises(ValueError, match='1 different labels for 2'):
        store_many(structures(2), process, ['a', 'a'])
    with pytest.raises(ValueError, match='only alphanumeric'):
        create_many(process, {'a b': structures(1)[0]})
    assert process.base.links.get_outgoing().all() == []


@pytest.mark.usefixtures('aiida_profile')
def test_returned_once():
    process, nodes = WorkChainNode().store(), structures(3)
    store_many(nodes)
    return_many(process, {f'output_structures__Si{k}': node for k, node in enumerate(nodes[:2])})
    return_many(process, {f'output_structures__Si{k}': node for k, node in enumerate(nodes)})
    links = process.base.links.get_outgoing(link_type=LinkType.RETURN).all()
    assert {link.link_label: link.node.uuid for link in links} == {
        f'output_structures__Si{k}': node.uuid for k, node in enumerate(nodes)
    }
    assert len(links) == 3
    assert {*process.outputs.output_structures} == {'Si0', 'Si1', 'Si2'}
    with pytest.raises(ValueError, match='wanted a stored data node'):
        return_many(process, {'new': Dict({})})
    with pytest.raises(ValueError, match='only alphanumeric'):
        return_many(process, {'a__b___c d': nodes[0]})


@pytest.mark.usefixtures('aiida_profile')
def test_created_once():
    process = CalcFunctionNode().store()
    nodes = {f'out_{k}': Dict({'k': k}) for k in range(70)}
    create_many(process, dict(list(nodes.items())[:40]))
    create_many(process, nodes)
    links = process.base.links.get_outgoing(link_type=LinkType.CREATE).all()
    assert {link.link_label: link.node.uuid for link in links} == {label: node.uuid for label, node in nodes.items()}
    assert all(node.creator.uuid == process.uuid for node in nodes.values())
    assert [node['k'] for node in nodes.values()] == [*range(70)]
