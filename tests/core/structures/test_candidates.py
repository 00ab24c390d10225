"""Candidates by substitution, and duplicates."""

import numpy as np
import pytest
from ase.build import bulk, make_supercell

from aiida_mlfc.core.structures.candidates import distinct, substituted


def test_supercells_and_rotations_are_no_new_crystals():
    salt = bulk('NaCl', 'rocksalt', a=5.64)
    turned = salt.copy()
    turned.rotate(37, (1, 2, 3), rotate_cell=True)
    turned.positions += 0.3
    crystals = {
        'salt': salt,
        'larger cell': make_supercell(salt, 2 * np.eye(3, dtype=int)),
        'conventional': bulk('NaCl', 'rocksalt', a=5.64, cubic=True),
        'strained': bulk('NaCl', 'rocksalt', a=5.8),
        'turned': turned,
        'other structure': bulk('NaCl', 'cesiumchloride', a=3.4),
        'other elements': bulk('KCl', 'rocksalt', a=6.3),
    }
    assert list(distinct(crystals)) == ['salt', 'other structure', 'other elements']
    assert list(distinct(crystals, known=[bulk('KCl', 'rocksalt', a=6.2)])) == ['salt', 'other structure']


def test_rock_salt_by_probable_ions():
    """Alkali and halide ions replace each other; the structure stays, the volume follows the ions."""
    found = substituted(bulk('NaCl', 'rocksalt', a=5.64), ('Na', 'K', 'Cl', 'Br', 'Mg'))
    formulas = [atoms.get_chemical_formula() for _, atoms in found]
    assert {'ClK', 'BrNa'} <= set(formulas)
    assert 'ClNa' not in formulas
    assert not any('Mg' in formula for formula in formulas)
    probabilities = [p for p, _ in found]
    assert probabilities == sorted(probabilities, reverse=True)
    volumes = {atoms.get_chemical_formula(): atoms.get_volume() for _, atoms in found}
    assert volumes['ClK'] > 1.1 * bulk('NaCl', 'rocksalt', a=5.64).get_volume()
    assert all(list(distinct({'a': atoms})) == ['a'] for _, atoms in found)


def test_metals_have_no_probabilities():
    with pytest.raises(ValueError, match='no charges could be guessed'):
        substituted(bulk('Cu'), ('Ag',))
    with pytest.raises(ValueError, match='got Xx, wanted chemical symbols'):
        substituted(bulk('NaCl', 'rocksalt', a=5.64), ('Xx',))
