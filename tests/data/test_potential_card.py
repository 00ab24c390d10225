"""A card speaks up about materials it knows badly or not at all."""

import pytest

from aiida_mlfc.core.checkpoint_files import read_header, resolve
from aiida_mlfc.data.potential_card import card_warnings

CARD = {
    'name': 'small',
    'training data': [{'formula': 'O2Si', 'sg': 'P3_121 (152)'}, {'formula': 'ZnTe', 'sg': 'F-43m (216)'}],
    'known problems': {'SiO2': 'off by 1 THz'},
}


@pytest.mark.parametrize(
    ('formula', 'spacegroup', 'said'),
    [
        ('ZnTe', 'F-43m (216)', []),
        ('ZnTe', 'P6_3mc (186)', ['small was not trained on ZnTe in P6_3mc (186): extrapolation']),
        ('SiO2', 'P3_121 (152)', ['small on SiO2: off by 1 THz']),
    ],
)
def test_what_is_said(formula, spacegroup, said):
    assert card_warnings(CARD, formula, spacegroup) == said


def test_a_foundation_model_says_nothing():
    assert card_warnings({'name': 'everything'}, 'ZnTe', 'P6_3mc (186)') == []


def test_dx_demo_knows_its_eight_crystals():
    card = read_header(resolve('dx-demo')).card
    assert len(card['training data']) == 8
    for entry in card['training data']:
        assert card_warnings(card, entry['formula'], entry['sg']) == []
    assert 'extrapolation' in card_warnings(card, 'NaCl', 'Pm-3m (221)')[0]


def test_dx_wide_says_where_it_is_not_to_be_trusted():
    card = read_header(resolve('dx-wide')).card
    assert 'do not trust larger supercells' in card_warnings(card, 'CuAgO2', 'C2/m (12)')[0]
