"""Whom to ask, in which order, within a budget."""

import pytest

from aiida_mlfc.core.structures.choosing import ActiveLearning, choose, overconfidence, scaled, why

ROWS = {
    'sure': {'status': 'ok', 'uncertainty': 0.05, 'min_frequency': 0.0},
    'unsure': {'status': 'ok', 'uncertainty': 0.3, 'min_frequency': 0.0},
    'wild': {'status': 'ok', 'uncertainty': 2.0, 'min_frequency': -4.0},
    'soft': {'status': 'ok', 'uncertainty': 0.1, 'min_frequency': -0.4},
    'softer': {'status': 'ok', 'uncertainty': None, 'min_frequency': -0.9},
    'unknown': {'status': 'failed', 'error': 'no Ag', 'uncertainty': None, 'min_frequency': None},
}


def test_order_and_reasons():
    found = choose(ROWS, [], ActiveLearning(per_round=10))
    assert [key for key, _ in found] == ['unknown', 'wild', 'unsure', 'softer', 'soft']
    assert dict(found)['unknown'] == 'no phonons: no Ag'
    assert dict(found)['wild'] == 'uncertain by 2.00 THz'
    assert dict(found)['softer'] == 'lowest mode at -0.90 THz'
    assert why(ROWS['sure'], ActiveLearning()) is None


@pytest.mark.parametrize('lowest', [None, float('nan')])
def test_a_frequency_that_is_no_number_is_no_phonon(lowest):
    rows = {'soft': ROWS['soft'], 'broken': {'status': 'ok', 'uncertainty': 0.05, 'min_frequency': lowest}}
    assert [key for key, _ in choose(rows, [], ActiveLearning())] == ['broken', 'soft']
    assert why(rows['broken'], ActiveLearning()) == f'no phonons: the lowest frequency is {lowest}'


def test_budget():
    rule = ActiveLearning(per_round=2, max_references=3)
    assert [key for key, _ in choose(ROWS, [], rule)] == ['unknown', 'wild']
    assert [key for key, _ in choose(ROWS, ['unknown', 'wild'], rule)] == ['unsure']
    assert choose(ROWS, ['unknown', 'wild', 'unsure'], rule) == []
    # what was asked is not asked again, whatever came of it
    assert choose({'wild': ROWS['wild']}, ['wild'], ActiveLearning()) == []


@pytest.mark.parametrize('wrong', [{'per_round': 0}, {'max_rounds': 1.5}, {'uncertainty': 0.0}])
def test_senseless_rules(wrong):
    with pytest.raises(ValueError, match=f'{next(iter(wrong))}: got'):
        ActiveLearning(**wrong)


def test_uncertainties_that_were_too_small_count_more():
    assert overconfidence([]) == 1.0
    assert overconfidence([], 4.0) == 4.0
    assert overconfidence([(0.4, 0.6)], 4.0) == pytest.approx(1.5)
    assert overconfidence([(0.4, 0.6)]) == pytest.approx(1.5)
    assert overconfidence([(0.1, 0.3), (0.1, 0.1)]) == pytest.approx(5**0.5)
    # those asked about were not chosen at random: good luck with them makes the others no surer
    assert overconfidence([(0.4, 0.1)]) == 1.0
    assert overconfidence([(0.0, 0.1), (0.4, float('nan'))]) == 1.0
    rows = scaled(ROWS, 5.0)
    assert why(rows['sure'], ActiveLearning()) == 'uncertain by 0.25 THz'
    assert rows['softer'] == ROWS['softer']
    assert ROWS['sure']['uncertainty'] == 0.05
