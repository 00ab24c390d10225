"""What lies outside training is refused, by name."""

import numpy as np
import pytest
from ase.build import bulk

from aiida_mlfc.core.potentials.validity import (
    OutsideTrainingError,
    check_displacement,
    check_environment,
    check_stress_labels,
    pair_name,
    shortest_distances,
)

NACL = bulk('NaCl', 'rocksalt', a=5.64)
SEEN = {'Na-Cl': [2.7, 2.9], 'Na-Na': [3.8, 4.1], 'Cl-Cl': [3.8, 4.1]}
CARD = {'validity': {'max_displacement': 0.1, 'shortest_distances': SEEN, 'has_stress': True}}


def test_pairs_are_named_in_one_order():
    assert pair_name(17, 11) == pair_name(11, 17) == 'Na-Cl'


def test_shortest_distances_see_images():
    found = shortest_distances(NACL, 4.5)
    assert set(found) == {'Na-Cl', 'Na-Na', 'Cl-Cl'}
    assert found['Na-Cl'] == pytest.approx(2.82)
    assert found['Na-Na'] == pytest.approx(5.64 / 2**0.5)
    assert set(shortest_distances(NACL, 3.0)) == {'Na-Cl'}


def test_inside_training():
    check_environment(NACL, CARD, 4.5)
    check_environment(NACL, {}, 4.5)
    check_environment(bulk('Fe', 'bcc', a=2.87), {'validity': {}}, 4.5)


@pytest.mark.parametrize(
    ('scale', 'message'), [(0.85, r'shortest Na-Cl distance 2\.397'), (1.2, 'trained on 2.700 to 2.900')]
)
def test_squeezed_and_stretched(scale, message):
    atoms = NACL.copy()
    atoms.set_cell(np.array(atoms.cell) * scale, scale_atoms=True)
    with pytest.raises(OutsideTrainingError, match=message):
        check_environment(atoms, CARD, 5.0)


def test_pair_that_was_never_seen():
    with pytest.raises(OutsideTrainingError, match=r'Al-Al neighbours within 4\.5 Å.*it saw Cl-Cl, Na-Cl, Na-Na'):
        check_environment(bulk('Al', 'fcc', a=4.05), CARD, 4.5)


def test_displacements():
    check_displacement(0.1, CARD, 'step')
    check_displacement(5.0, {}, 'step')
    with pytest.raises(OutsideTrainingError, match=r'step: 0\.101 Å.* up to 0\.100 Å'):
        check_displacement(0.101, CARD, 'step')


@pytest.mark.parametrize('card', [{}, {'validity': {}}, {'validity': {'has_stress': False}}])
def test_no_stress_labels(card):
    check_stress_labels(CARD)
    with pytest.raises(OutsideTrainingError, match='trained on stress'):
        check_stress_labels(card)


def test_elements_of_no_crystal_learned():
    """All pairs of MgAl2O4 are known from MgO and Al2O3, but not the triplets."""
    card = {'validity': {'elements_together': [['Al'], ['Cl', 'Na']]}}
    check_environment(NACL, card, 4.5)
    check_environment(bulk('Al'), card, 4.5)
    with pytest.raises(OutsideTrainingError, match=r'^Na: .*no crystal of just these elements.*\(.* on Al, Cl-Na\)'):
        check_environment(bulk('Na'), card, 4.5)


def test_displacements_on_the_way_may_be_larger():
    check_displacement(0.2, CARD, 'step', times=2)
    with pytest.raises(OutsideTrainingError, match=r'step: 0\.201 Å.* up to 0\.100 Å; 0\.200 Å are allowed here'):
        check_displacement(0.201, CARD, 'step', times=2)
