"""What a second launch takes for under way, and what it sends on its way again."""

from types import SimpleNamespace

import numpy as np
import pytest
from aiida.common.links import LinkType
from aiida.orm import ArrayData, WorkChainNode

from aiida_mlfc.cli import daemon_recovery
from aiida_mlfc.cli.screening import Screening


def born_charges(scale):
    node = ArrayData()
    node.set_array('born', scale * np.array([np.eye(3), -np.eye(3)]))
    node.set_array('dielectric', 2.0 * np.eye(3))
    return node.store()


@pytest.mark.parametrize(
    ('there', 'here', 'is_under_way'),
    [(None, None, True), (1.0, 1.0, True), (1.0, 1.1, False), (1.0, None, False), (None, 1.0, False)],
)
def test_a_crystal_that_runs_with_other_born_charges_is_not_under_way(
    make_structure, rocksalt, there, here, is_under_way
):
    structure = make_structure(rocksalt, 'salt')
    screen = WorkChainNode(process_type='aiida.workflows:mlfc.screen')
    screen.base.links.add_incoming(structure, LinkType.INPUT_WORK, 'structures__salt')
    if there is not None:
        screen.base.links.add_incoming(born_charges(there), LinkType.INPUT_WORK, 'nac_params__salt')
    screen.store()
    this = SimpleNamespace(nodes={'sha': structure}, born={} if here is None else {'sha': born_charges(here)})
    assert Screening._under_way(this, [screen]) == ({structure.uuid} if is_under_way else set())


def test_the_task_of_a_process_is_sent_again(monkeypatch):
    from aiida.manage import get_manager

    sent = []
    controller = SimpleNamespace(continue_process=lambda pk, **options: sent.append((pk, options)))
    monkeypatch.setattr(type(get_manager()), 'get_process_controller', lambda self: controller)
    daemon_recovery.give_task(SimpleNamespace(pk=7))
    # without waiting for an answer: nobody may be there yet
    assert sent == [(7, {'nowait': False, 'no_reply': True})]
