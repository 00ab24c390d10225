"""ASE and phonopy see the same crystal."""

import numpy as np
import pytest
from ase.build import bulk

from aiida_mlfc.core.structures.cells import as_ase, to_ase, to_phonopy


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


def test_as_ase_copies():
    atoms = bulk('Si')
    taken = as_ase(atoms)
    taken.positions += 1
    assert np.array_equal(atoms.positions, bulk('Si').positions)
    assert as_ase(to_phonopy(atoms)) == atoms
    with pytest.raises(TypeError, match='got dict'):
        as_ase({'cell': 1})
