"""A step that is repeated after a crash finds the child that it submitted before."""

from types import SimpleNamespace

import pytest
from aiida.common.links import LinkType
from aiida.engine import ProcessState
from aiida.orm import WorkChainNode

from aiida_mlfc.workchains.adopting import AdoptsChildren
from aiida_mlfc.workchains.phonon import PhononWorkChain


class Submits:
    """What AiiDA does."""

    def submit(self, process, inputs=None, **kwargs):
        return 'a new child'


class Parent(AdoptsChildren, Submits):
    def __init__(self, node):
        self.node, self.said, self.asked = node, [], []
        controller = SimpleNamespace(continue_process=lambda pk, **_: self.asked.append(pk))
        self.runner = SimpleNamespace(controller=controller)

    def report(self, text):
        self.said.append(text)


@pytest.fixture
def parent(aiida_profile):
    return Parent(WorkChainNode().store())


def child_of(parent, state, label='shard_0000', checkpoint='some'):
    node = WorkChainNode()
    node.set_process_type(PhononWorkChain.build_process_type())
    node.set_process_state(state)
    if checkpoint:
        node.set_checkpoint(checkpoint)
    node.base.links.add_incoming(parent.node, LinkType.CALL_WORK, label)
    return node.store()


def submit(parent, label='shard_0000'):
    return parent.submit(PhononWorkChain, structures={}, metadata={'call_link_label': label})


@pytest.mark.parametrize('state', [ProcessState.WAITING, ProcessState.RUNNING, ProcessState.FINISHED])
def test_taken_back(parent, state):
    child = child_of(parent, state)
    assert submit(parent).uuid == child.uuid
    assert 'before a crash' in parent.said[0]
    assert parent.asked == []


def test_one_that_never_ran_is_asked_for_again(parent):
    child = child_of(parent, ProcessState.CREATED)
    assert submit(parent).uuid == child.uuid
    assert parent.asked == [child.pk]


def test_what_cannot_go_on_is_replaced(parent):
    child_of(parent, ProcessState.CREATED, checkpoint=None)
    child_of(parent, ProcessState.EXCEPTED)
    child_of(parent, ProcessState.KILLED)
    child_of(parent, ProcessState.WAITING, label='shard_0001')
    assert submit(parent) == 'a new child'
    assert submit(parent, '') == 'a new child'
    assert submit(Parent(WorkChainNode().store())) == 'a new child'
