"""What training reads of a force set."""

import numpy as np
from aiida.orm import StructureData
from aiida_phonopy.data import PhonopyData, PreProcessData

from aiida_mlfc.data.force_sets import force_set_input
from aiida_mlfc.exchange.job import structure_from_arrays


def test_kinds_with_names_of_their_own_are_the_elements_they_are(aiida_profile, rocksalt):
    """Na1 beside Cl, as magnetic or pseudopotential kinds are named, is sodium, in the same order of atoms."""
    displacements = np.random.default_rng(3).normal(scale=0.01, size=(2, 16, 3))
    found = {}
    for name in ('Na', 'Na1'):
        structure = StructureData(cell=np.array(rocksalt.cell).tolist())
        for kind, atom in zip((name, 'Cl'), rocksalt, strict=True):
            structure.append_atom(position=atom.position, symbols=atom.symbol, name=kind)
        cells = PreProcessData(
            structure=structure, supercell_matrix=[[2, 0, 0], [0, 2, 0], [0, 0, 2]], primitive_matrix=np.eye(3).tolist()
        )
        cells.set_displacements_from_dataset({'displacements': displacements})
        node = PhonopyData(preprocess_data=cells)
        node.set_forces(sets_of_forces=-displacements)
        found[name] = force_set_input(node.store())
    plain, named = found['Na'], found['Na1']
    for cell in ('primitive', 'supercell'):
        assert structure_from_arrays(named[cell]) == structure_from_arrays(plain[cell])
        assert set(named[cell]) == {'numbers', 'positions', 'cell'}
    assert named['primitive']['numbers'].tolist() == [11, 17]
    np.testing.assert_array_equal(named['displacements'], plain['displacements'])
    np.testing.assert_array_equal(named['forces'], plain['forces'])
