"""Rows of all screens: kept ones as they are kept, the others from provenance, newest screens first."""

import sys

import pytest
from aiida.common.links import LinkType
from aiida.engine import ProcessState
from aiida.orm import Group, WorkChainNode

from aiida_mlfc.data.facts import SCREEN_TYPE
from aiida_mlfc.data.kept_rows import keep, kept
from aiida_mlfc.data.outcomes import ScreenOutcome
from aiida_mlfc.data.tables import rows_of_all
from aiida_mlfc.reports.rows import failed_row


@pytest.fixture
def ended(aiida_profile_clean, potential_node, make_structure, silicon):
    """A screen of one crystal that has ended without saying anything of it."""
    structure = make_structure(silicon, 'silicon')

    def _make():
        node = WorkChainNode(process_type=SCREEN_TYPE)
        node.base.links.add_incoming(structure, LinkType.INPUT_WORK, 'structures__si')
        node.base.links.add_incoming(potential_node, LinkType.INPUT_WORK, 'potential')
        node.set_process_label('ScreenWorkChain')
        node.store()
        node.set_process_state(ProcessState.FINISHED)
        node.set_exit_status(400)
        node.set_exit_message('the disk is full')
        return node

    return _make


def test_kept_and_others_newest_first(ended):
    first, second, third = ended(), ended(), ended()
    keep(second, {'si': failed_row('silicon', 'as it was kept')})
    found = list(rows_of_all())
    assert [(pk, key) for _, pk, key in found] == [(node.pk, 'si') for node in (third, second, first)]
    assert [row['error'].split('>: ')[-1] for row, _, _ in found] == [
        'the disk is full', 'as it was kept', 'the disk is full',
    ]  # fmt: skip
    assert found[0][0] == ScreenOutcome(third).row('si')
    # and now all of them are kept
    assert set(kept([first.pk, second.pk, third.pk])) == {first.pk, second.pk, third.pk}
    assert list(rows_of_all()) == found


def test_of_a_group(ended):
    first, second = ended(), ended()
    Group(label='chosen').store().add_nodes([first])
    assert [pk for _, pk, _ in rows_of_all('chosen')] == [first.pk]
    assert [pk for _, pk, _ in rows_of_all()] == [second.pk, first.pk]
    assert list(rows_of_all('nobody')) == []


def test_kept_rows_need_nothing_that_takes_long_to_import():
    """Neither torch (which vesin imports) nor phonopy nor rich: they take longer than ten thousand rows."""
    import subprocess

    code = 'import sys, aiida_mlfc.data.tables, aiida_mlfc.reports.table; print(*sorted(sys.modules))'
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert 'aiida.orm' in modules
    assert not modules & {'torch', 'vesin', 'phonopy', 'spglib', 'rich.console', 'aiida_phonopy', 'plotly'}
