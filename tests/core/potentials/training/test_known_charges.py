"""Latent charges from Born charges: screened, averaged, and none where an element of a compound has none."""

from dataclasses import replace

import numpy as np
from ase.build import bulk

from aiida_mlfc.core.potentials.training.known_charges import known_charges

SALT = {'born': np.array([np.diag([1.0, 1.1, 1.2]), -1.1 * np.eye(3)]), 'dielectric': np.diag([2.0, 2.5, 3.0])}


def made_of(reference, crystal, born):
    return replace(reference, primitive=crystal, born=born)


def test_screened_by_the_dielectric(reference):
    salt = made_of(reference, bulk('NaCl', 'rocksalt', a=5.6), SALT)
    np.testing.assert_allclose(known_charges([salt], (11, 17)), np.array([1.1, -1.1]) / np.sqrt(2.5), atol=1e-14)


def test_mean_of_several_and_zero_for_elements_alone(reference):
    stronger = {'born': 2 * SALT['born'], 'dielectric': 2.5 * np.eye(3)}
    sets = [
        made_of(reference, bulk('NaCl', 'rocksalt', a=5.6), SALT),
        made_of(reference, bulk('NaCl', 'rocksalt', a=5.5), stronger),
        made_of(reference, bulk('Si', 'diamond', a=5.43), None),
    ]
    found = known_charges(sets, (11, 14, 17))
    np.testing.assert_allclose(found, np.array([1.65, 0.0, -1.65]) / np.sqrt(2.5), atol=1e-14)


def test_unknown_where_one_compound_has_none(reference):
    sets = [
        made_of(reference, bulk('NaCl', 'rocksalt', a=5.6), SALT),
        made_of(reference, bulk('MgO', 'rocksalt', a=4.2), None),
    ]
    assert known_charges(sets, (8, 11, 12, 17)) is None
    assert known_charges([made_of(reference, bulk('Si', 'diamond', a=5.43), None)], (14,)) is None
