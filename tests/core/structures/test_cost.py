"""The estimate of what a crystal costs, against phonopy's own displacements and against counted edges."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list

from aiida_mlfc.core.force_constants.irreducible import set_up
from aiida_mlfc.core.structures.cost import FIXED_COST, estimated_cost, independent_directions
from aiida_mlfc.core.structures.reading import read_crystals

EXAMPLES = Path(__file__).parents[3] / 'examples' / 'structures'
#: a cell of two primitive cells keeps the symmetry of the crystal in the estimate; its supercell may break it
GOOD = [c for c in read_crystals([EXAMPLES]) if c.atoms is not None and c.path.name != 'Si_diamond_2x1x1.vasp']


@pytest.mark.parametrize('crystal', GOOD, ids=lambda crystal: crystal.path.name)
def test_as_many_directions_as_phonopy_displaces(crystal):
    assert independent_directions(crystal.atoms) == len(set_up(crystal.atoms, [1, 1, 1], symprec=1e-4).directions)


def test_without_symmetry_all_three_of_every_atom():
    generator = np.random.default_rng(0)
    atoms = bulk('NaCl', 'rocksalt', a=5.64, cubic=True)
    atoms.positions += generator.normal(scale=0.1, size=atoms.positions.shape)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + generator.normal(scale=0.05, size=(3, 3))), scale_atoms=True)
    assert independent_directions(atoms) == 3 * len(atoms)


def test_edges_are_those_of_the_supercell():
    """Rock salt has two directions; the density gives the edges to within the discreteness of the shells."""
    atoms, cutoff = bulk('NaCl', 'rocksalt', a=5.64), 9.0
    n_edges = len(neighbor_list('i', atoms * (2, 2, 2), cutoff))
    found = estimated_cost(atoms, cutoff, [2, 2, 2]) - FIXED_COST
    assert found == pytest.approx(3 * n_edges, rel=0.1)
    assert estimated_cost(atoms, cutoff, np.diag([2, 2, 2])) - FIXED_COST == pytest.approx(found)
    assert estimated_cost(atoms, cutoff, supercell_length=6.5) - FIXED_COST == pytest.approx(found)


def test_the_same_crystal_in_a_larger_cell_costs_the_same_in_the_same_supercell():
    atoms = bulk('Si', 'diamond', a=5.43)
    assert estimated_cost(atoms * (2, 2, 2), 5.0, [1, 1, 1]) == pytest.approx(estimated_cost(atoms, 5.0, [2, 2, 2]))
    assert estimated_cost(Atoms('Si', cell=np.eye(3) * 4, pbc=True), 5.0, 'auto') > FIXED_COST
