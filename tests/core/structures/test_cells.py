"""ASE and phonopy see the same crystal."""

import numpy as np
import pytest
from ase.build import bulk

from aiida_mlfc.core.structures.cells import as_ase, isotope_masses, to_ase, to_phonopy


def test_round_trip():
    atoms = bulk('NaCl', 'rocksalt', a=5.64)
    atoms.positions += [0.1, -7.0, 20.0]
    back = to_ase(to_phonopy(atoms))
    np.testing.assert_allclose(back.positions, atoms.positions, rtol=0, atol=1e-12)
    np.testing.assert_allclose(back.cell, atoms.cell, rtol=0, atol=0)
    assert back.numbers.tolist() == atoms.numbers.tolist()
    assert back.pbc.all()


def test_masses_cross_only_where_set():
    atoms = bulk('Si')
    assert to_phonopy(atoms).masses.tolist() == pytest.approx([28.0855, 28.0855], abs=1e-3)
    atoms.set_masses([28.0, 30.0])
    assert to_phonopy(atoms).masses.tolist() == [28.0, 30.0]


def test_masses_come_back():
    """Only those that are not phonopy's own: an ``Atoms`` without masses is one with those of the elements."""
    atoms = bulk('Si')
    assert not to_ase(to_phonopy(atoms)).has('masses')
    atoms.set_masses([28.0, 30.0])
    assert to_ase(to_phonopy(atoms)).get_masses().tolist() == [28.0, 30.0]
    assert as_ase(to_phonopy(atoms)).get_masses().tolist() == [28.0, 30.0]
    atoms.set_masses(to_phonopy(bulk('Si')).masses * (1 + 1e-5))
    assert to_ase(to_phonopy(atoms)).has('masses')
    assert not to_ase(to_phonopy(atoms), same_mass=1e-4).has('masses')


def test_isotopes_are_none_of_the_tables():
    """ASE has lithium at 6.940, phonopy and AiiDA at 6.941: both natural."""
    atoms = bulk('LiF', 'rocksalt', a=4.03)
    assert isotope_masses(atoms) is None
    for lithium in (6.94, 6.941):
        atoms.set_masses([lithium, 18.998])
        assert isotope_masses(atoms) is None
    atoms.set_masses([6.015, 18.998])
    assert isotope_masses(atoms).tolist() == [6.015, 18.998]
    # Z = 113 has a mass in one table only; the other's silence is no isotope
    heavy = bulk('Nh', 'fcc', a=5.0)
    heavy.set_masses(heavy.get_masses())
    assert isotope_masses(heavy) is None


def test_as_ase_copies():
    atoms = bulk('Si')
    taken = as_ase(atoms)
    taken.positions += 1
    assert np.array_equal(atoms.positions, bulk('Si').positions)
    assert as_ase(to_phonopy(atoms)) == atoms
    with pytest.raises(TypeError, match='got dict'):
        as_ase({'cell': 1})
