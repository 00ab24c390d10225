"""What the results of the tasks say ends up in the row, and only what would come again is an end."""

from types import SimpleNamespace

import pytest
from aiida.common.links import LinkType
from aiida.orm import WorkChainNode

from aiida_mlfc.data.facts import Facts
from aiida_mlfc.data.kept_rows import keep, kept
from aiida_mlfc.data.outcomes import ScreenOutcome, relaxation_warnings, rows_of

OK = {'status': 'ok', 'seconds': 1.0}


def failure(kind, message='reason'):
    return {'status': 'failed', 'seconds': 1.0, 'error': {'type': kind, 'message': message}}


def outcome_with(*steps):
    facts = Facts(structures={'si': {'uuid': 'u'}}, parameters={'si': list(steps)})
    return ScreenOutcome(SimpleNamespace(pk=1), SimpleNamespace(facts={1: facts}))


def test_a_fallback_of_the_optimiser_is_a_warning():
    steps = [{'status': 'ok', 'fallback': None}, {'status': 'ok', 'fallback': 'no step goes down'}, {'status': 'ok'}]
    assert relaxation_warnings(steps) == ['relaxed by BFGS; Newton gave up: no step goes down']
    assert relaxation_warnings([]) == []


@pytest.mark.parametrize(
    ('steps', 'is_done'),
    [
        ([], False),
        ([OK], False),
        ([failure('StructureError')], True),
        ([OK, failure('ValueError')], True),
        # The next round of the relaxation converged, and then the screen was interrupted.
        ([failure('NotConverged'), OK], False),
        # There may be more memory next time; a result that cannot be read may be whole.
        ([OK, failure('OutOfMemoryError')], False),
        ([failure('KilledError')], False),
        ([failure('UnreadableResult')], False),
    ],
)
def test_done_is_what_would_come_again(steps, is_done):
    assert outcome_with(*steps).is_done('si') is is_done


@pytest.fixture
def screen(potential_node, make_structure, silicon):
    node = WorkChainNode(process_type='aiida.workflows:mlfc.screen')
    node.base.links.add_incoming(make_structure(silicon, 'silicon'), LinkType.INPUT_WORK, 'structures__si')
    node.base.links.add_incoming(potential_node.store(), LinkType.INPUT_WORK, 'potential')
    node.set_process_label('ScreenWorkChain')
    node.set_process_state('waiting')
    return node.store()


def test_rows_of_what_still_runs_are_not_kept(screen):
    """Not even if the screen ends while its rows are made: they tell what was known before."""
    rows = []
    for row, _, _ in rows_of(ScreenOutcome.of([screen])):
        rows.append(row)
        screen.set_process_state('finished')
    assert 'no result yet' in rows[0]['error']
    assert kept([screen.pk]) == {}


def test_rows_of_a_killed_screen_are_not_kept(screen):
    """Its children may go on for a while."""
    screen.set_process_state('killed')
    ((row, _, _),) = rows_of(ScreenOutcome.of([screen]))
    assert 'was killed' in row['error']
    assert kept([screen.pk]) == {}


def test_kept_rows_are_read_without_asking_for_anything_else(screen, monkeypatch):
    rows = {'si': ScreenOutcome(screen).row('si')}
    keep(screen, rows)
    monkeypatch.setattr('aiida_mlfc.data.outcomes.facts_of', None)
    assert [(key, row) for row, _, key in rows_of(ScreenOutcome.of([screen]))] == list(rows.items())
