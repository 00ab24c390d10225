"""Which screens still run, and which only look as if they did."""

import pytest
from aiida.common.links import LinkType
from aiida.orm import WorkChainNode
from ase.build import bulk

from aiida_mlfc.data import screens
from aiida_mlfc.data.crystals import content_sha256, structure_nodes

SETTINGS = 'a' * 64


@pytest.fixture
def screen(aiida_profile_clean):
    """A screen of one crystal as ``submit`` stores it, before its first checkpoint."""
    atoms = bulk('Si', 'diamond', a=5.43)
    (structure,) = structure_nodes([('Si', atoms, 'Si.cif')]).values()
    node = WorkChainNode(process_type=screens.SCREEN_TYPE)
    node.base.links.add_incoming(structure, LinkType.INPUT_WORK, 'structures__si')
    node.store()
    node.base.extras.set(screens.EXTRA_SETTINGS, SETTINGS)
    return node, content_sha256(atoms, 'Si')


def test_young(screen):
    node, sha256 = screen
    found, running = screens.earlier_outcomes(SETTINGS, [sha256])
    assert (found, [process.pk for process in running]) == ({}, [node.pk])


def test_lost_while_it_was_submitted(screen, monkeypatch):
    node, sha256 = screen
    monkeypatch.setattr(screens, 'PATIENCE', -1.0)
    assert screens.is_being_submitted(node)
    assert screens.never_began(node)
    assert screens.earlier_outcomes(SETTINGS, [sha256]) == ({}, [])


def test_begun(screen, monkeypatch):
    node, sha256 = screen
    monkeypatch.setattr(screens, 'PATIENCE', -1.0)
    node.set_checkpoint('what a daemon loads')
    assert not screens.is_being_submitted(node)
    assert not screens.never_began(node)
    assert [process.pk for process in screens.earlier_outcomes(SETTINGS, [sha256])[1]] == [node.pk]
