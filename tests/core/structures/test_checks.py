"""Each unusable structure has its own message."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from aiida_mlfc.core.structures.checks import (
    SHORTEST_DISTANCE,
    StructureError,
    UnknownSpeciesError,
    check_cell,
    check_distances,
    check_species,
    check_structure,
)


def broken(**changes):
    atoms = bulk('Si')
    for name, value in changes.items():
        setattr(atoms, name, value)
    return atoms


def with_position(value):
    atoms = bulk('Si')
    atoms.positions[1, 2] = value
    return atoms


@pytest.mark.parametrize(('atoms', 'message'), [
    (Atoms(cell=np.eye(3) * 5, pbc=True), 'no atoms'),
    (with_position(np.nan), 'not finite'),
    (with_position(np.inf), 'not finite'),
    (broken(numbers=[14, 0]), 'dummy atom X'),
    (broken(pbc=[True, True, False]), r'pbc=\[True, True, False\]'),
    (Atoms('Si', pbc=True), 'is the lattice missing'),
    (Atoms('Si', cell=[[3, 0, 0], [0, 3, 0], [3, 3, 0]], pbc=True), 'is the lattice missing'),
    (Atoms('Si2', positions=[[0, 0, 0], [0.4, 0, 0]], cell=[0.9, 0.9, 0.9], pbc=True), 'at least 0.5'),
    (Atoms('Si', cell=np.eye(3) * 11, pbc=True), 'vacuum, or a wrong unit'),
], ids=['empty', 'nan', 'infinite', 'dummy', 'slab', 'no cell', 'flat cell', 'crushed', 'vacuum'])
def test_bad_cells(atoms, message):
    with pytest.raises(StructureError, match=message):
        check_cell(atoms)


@pytest.mark.parametrize('atoms', [bulk('Si'), bulk('Cs'), bulk('Al') * (1, 1, 5)], ids=str)
def test_good_cells(atoms):
    check_cell(atoms)
    left_handed = atoms.copy()
    left_handed.set_cell(np.array(atoms.cell)[[1, 0, 2]])
    check_cell(left_handed)


def test_distances():
    atoms = Atoms('NaClSi', positions=[[0, 0, 0], [0, 0, 1], [0, 0, 2]], cell=np.eye(3) * 9, pbc=True)
    i, j = np.array([0, 1, 2]), np.array([1, 2, 0])
    with pytest.raises(StructureError, match=r'atoms 1 \(Cl\) and 2 \(Si\) are 0.3 Å apart'):
        check_distances(atoms, i, j, np.array([1.0, 0.3, 0.4]))
    check_distances(atoms, i, j, np.array([1.0, SHORTEST_DISTANCE, 2.0]))
    check_distances(atoms, i[:0], j[:0], np.empty(0))


def test_species():
    check_species(np.array([14, 14]), (14, 32))
    with pytest.raises(UnknownSpeciesError, match='does not know O, Z=200; it was trained on Si Ge'):
        check_species(np.array([14, 200, 8]), (32, 14))


def test_whole_structure():
    check_structure(bulk('Si'))
    with pytest.raises(StructureError, match='dummy'):
        check_structure(broken(numbers=[14, 0]))
    # across the cell boundary, and an atom on its own image
    near_image = Atoms('Si2', positions=[[0.1, 0, 0], [4.9, 0, 0]], cell=[5, 5, 5], pbc=True)
    with pytest.raises(StructureError, match='one site'):
        check_structure(near_image)
    own_image = Atoms('Si', cell=[0.4, 5, 5], pbc=True)
    with pytest.raises(StructureError, match='one site'):
        check_structure(own_image)
