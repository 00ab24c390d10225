"""Which rows of which screens a page shows, from screens that have ended."""

import pytest
from aiida.common.links import LinkType
from aiida.engine import ProcessState
from aiida.orm import WorkChainNode

from aiida_mlfc.cli.report import _Lazy, look_at
from aiida_mlfc.data.kept_rows import keep
from aiida_mlfc.data.screens import EXTRA_SETTINGS, SCREEN_TYPE, all_screens
from aiida_mlfc.reports.rows import failed_row


@pytest.fixture
def ended(aiida_profile_clean, potential_node, make_structure, silicon):
    """A screen of one crystal that has ended, with the force constants of this name, or without any."""
    structure = make_structure(silicon, 'silicon')

    def _make(force_constants, settings=None):
        node = WorkChainNode(process_type=SCREEN_TYPE)
        node.base.links.add_incoming(structure, LinkType.INPUT_WORK, 'structures__si')
        node.base.links.add_incoming(potential_node, LinkType.INPUT_WORK, 'potential')
        node.store()
        node.set_process_state(ProcessState.FINISHED)
        if settings is not None:
            node.base.extras.set(EXTRA_SETTINGS, settings)
        known = {'structure_uuid': structure.uuid, 'potential_sha256': potential_node.sha256}
        row = failed_row('silicon', 'no room', **known)
        if force_constants is not None:
            row |= {'status': 'ok', 'error': None, 'force_constants_uuid': force_constants}
        keep(node, {'si': row})
        return node

    return _make


def made(found):
    return [row['force_constants_uuid'] for row in found.rows]


def test_screens_without_a_hash_of_their_settings_do_not_hide_each_other(ended, potential_node):
    """As a script launches them: the same crystals with one protocol, then with another."""
    fast, stringent = ended('fast'), ended('stringent')
    found = look_at(all_screens())
    assert made(found) == ['stringent', 'fast']
    assert [found.phonons[uuid][0].process.pk for uuid in ('fast', 'stringent')] == [fast.pk, stringent.pk]
    assert list(found.cards) == [potential_node.sha256]


def test_the_newest_of_equal_settings_is_shown_and_the_others_are_found(ended):
    """Rows of an older screen, kept in a file, still lead to their figures."""
    ended('first', 'same')
    ended(None, 'same')
    newest = ended('last', 'same')
    ended('other', 'another')
    found = look_at(all_screens())
    assert made(found) == ['other', 'last']
    assert set(found.phonons) == {'first', 'last', 'other'}
    assert found.crystals['last'][0].process.pk == newest.pk
    (structure,) = {row['structure_uuid'] for row in found.rows}
    assert set(found.crystals) == {'first', 'last', 'other', structure}


def test_nothing_is_read_to_know_whether_it_is_there():
    lazy = _Lazy({'uuid': ('screen', 'si')}, lambda outcome, key: pytest.fail(f'{outcome}, {key} was read'))
    assert 'uuid' in lazy
    assert 'other' not in lazy
    assert list(lazy) == ['uuid']
