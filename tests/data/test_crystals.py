"""Structures are stored once and found again."""

import numpy as np
from ase.build import bulk

from aiida_mlfc.data.crystals import content_sha256, crystal_key, structure_nodes
from aiida_mlfc.exchange.names import check_key


def test_same_crystal_same_node():
    atoms = bulk('Si', 'diamond', a=5.431)
    first = structure_nodes([('a', atoms, 'a.cif'), ('a', atoms.copy(), 'copy/a.cif'), ('b', atoms, 'b.cif')])
    assert len(first) == 2
    again = structure_nodes([('a', atoms, 'a.cif')])
    sha256 = content_sha256(atoms, 'a')
    assert again[sha256].uuid == first[sha256].uuid
    assert again[sha256].label == 'a'
    assert again[sha256].base.extras.get('mlfc_source') == 'a.cif'
    np.testing.assert_allclose(again[sha256].get_ase().positions, atoms.positions)
    assert structure_nodes([]) == {}


def test_hash_sees_everything():
    atoms = bulk('NaCl', 'rocksalt', a=5.64)
    moved, strained, swapped = atoms.copy(), atoms.copy(), atoms.copy()
    moved.positions[0, 0] += 1e-9
    strained.cell[0, 1] += 1e-9
    swapped.numbers = [17, 11]
    assert len({content_sha256(a, 'x') for a in (atoms, moved, strained, swapped)} | {content_sha256(atoms, 'y')}) == 5


def test_keys_are_keys():
    for atoms in (bulk('NaCl', 'rocksalt', a=5.64), bulk('Si'), bulk('Si') * (3, 3, 3)):
        assert check_key(crystal_key(atoms, content_sha256(atoms, '<img>'))).startswith(('NaCl_', 'Si_'))


def test_a_relaxed_structure_with_copied_extras_is_not_taken_for_its_origin():
    """aiida-quantumespresso clones the input structure, extras included, into the relaxed one."""
    atoms = bulk('Si', 'diamond', a=5.47)
    (node,) = structure_nodes([('origin', atoms, 'origin.cif')]).values()
    relaxed = node.clone()
    relaxed.set_cell((0.98 * atoms.cell.array).tolist())
    relaxed.base.extras.set_many(node.base.extras.all)
    relaxed.store()
    (found,) = structure_nodes([('origin', atoms, 'origin.cif')]).values()
    assert found.uuid == node.uuid
