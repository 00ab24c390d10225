"""One potential of twenty crystals: what its card says is so, and it is for these alone."""

from pathlib import Path

import pytest
from ase.build import bulk

from aiida_mlfc import compute_force_constants, load_potential
from aiida_mlfc.core.checkpoint_files import read_header, resolve
from aiida_mlfc.core.potentials.training.references import load_reference
from aiida_mlfc.core.potentials.validity import OutsideTrainingError
from aiida_mlfc.runner.evaluation import evaluate

REFERENCES = Path(__file__).parents[4] / 'shared' / 'data' / 'dft_references'
MEGABYTE = 1_000_000


@pytest.fixture(scope='module')
def potential():
    return load_potential('dx-wide')


@pytest.fixture(scope='module')
def card():
    return read_header(resolve('dx-wide')).card


def test_size(potential):
    assert resolve('dx-wide').stat().st_size < 3 * MEGABYTE
    n_parameters = sum(p.numel() for p in potential.parameters()) + potential.expansion.n_coefficients
    assert n_parameters < 1.5e6
    assert potential.is_silent


def test_card_says_that_it_meets_its_targets(card):
    unseen, learned, constants = (
        card[f'errors on {which}']
        for which in (
            'configurations never seen',
            'the configurations learned, none held back',
            'the force constants learned',
        )
    )
    assert (len(unseen), len(learned), len(constants)) == (10, 9, 1)
    assert len(card['training data']) == 20
    for row in [*unseen, *learned, *constants]:
        assert row['frequency_mae_THz'] < 0.25, row
        assert row['frequency_between_mae_THz'] < 0.25, row
        assert row['relative_frobenius_percent'] < 6, row
        assert row['lowest_elastic_constant_GPa'] > 0, row
    assert set(card['known problems']) == {'CuAgO2'}
    assert 'do not trust larger supercells' in card['known problems']['CuAgO2']


def test_it_is_for_its_own_crystals(potential):
    """Magnesium, aluminium and oxygen are all known, but not together."""
    with pytest.raises(OutsideTrainingError, match='no crystal of just these elements'):
        compute_force_constants(bulk('MgAlO', 'fluorite', a=5.0), [1, 1, 1], potential)


@pytest.mark.skipif(not REFERENCES.is_dir(), reason='no DFT references beside the checkout (../shared/data)')
def test_card_agrees_with_a_new_evaluation(potential, card):
    claimed = next(row for row in card['errors on configurations never seen'] if row['material'] == 'LiF_nosym_vasp')
    measured = evaluate(potential, load_reference(REFERENCES / 'LiF_nosym_vasp').held_back())
    for key, value in claimed.items():
        if isinstance(value, float):
            assert measured[key] == pytest.approx(value, rel=1e-2, abs=1e-3), key
