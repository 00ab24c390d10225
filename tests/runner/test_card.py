"""What a card says of its materials: every problem that a user would not see, and nothing of a good one."""

import pytest
from ase.build import bulk

from aiida_mlfc.core.potentials.training.references import Reference
from aiida_mlfc.runner.card import known_problems

GOOD = {
    'frequency_mae_THz': 0.05,
    'min_frequency_THz': 1.0,
    'min_frequency_DFT_THz': 1.02,
    'min_frequency_between_THz': 0.5,
    'min_frequency_between_DFT_THz': 0.4,
    'lowest_elastic_constant_GPa': 40.0,
}


@pytest.fixture(scope='module')
def salt():
    crystal = bulk('NaCl', 'rocksalt', 5.6)
    return Reference('salt', crystal, crystal, None, None, None, {})


def said(salt, **changes):
    return known_problems([{**GOOD, **changes}], [salt])


def test_nothing_of_a_good_one(salt):
    assert said(salt) == {}
    # what DFT has too is no problem of the potential
    assert said(salt, min_frequency_THz=-2.0, min_frequency_DFT_THz=-1.99) == {}
    assert said(salt, min_frequency_THz=-0.42, min_frequency_DFT_THz=-0.35) == {}
    assert said(salt, min_frequency_between_THz=-0.3, min_frequency_between_DFT_THz=-0.68) == {}


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'frequency_mae_THz': 0.31}, 'off by 0.31 THz'),
        ({'min_frequency_THz': -0.5}, 'do not trust "unstable"'),
        ({'min_frequency_THz': -0.08, 'min_frequency_DFT_THz': -0.02}, 'do not trust "unstable"'),
        ({'min_frequency_THz': -0.7, 'min_frequency_DFT_THz': -0.35}, 'do not trust "unstable"'),
        ({'min_frequency_between_THz': -1.47, 'min_frequency_between_DFT_THz': -0.68}, 'do not trust larger'),
        ({'min_frequency_THz': -0.01, 'min_frequency_DFT_THz': -0.35}, 'do not trust "stable"'),
        ({'lowest_elastic_constant_GPa': -17.0}, 'gives way to strain (lowest elastic constant -17 GPa)'),
    ],
)
def test_each_problem_is_named(salt, changes, words):
    assert words in said(salt, **changes)['NaCl']


def test_errors_that_could_not_be_measured(salt):
    assert known_problems([{'error': 'nothing'}], [salt]) == {'NaCl': 'its errors could not be measured'}
