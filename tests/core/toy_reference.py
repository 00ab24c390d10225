"""Configurations of rock salt whose forces are those of an analytic model."""

import numpy as np
from ase.build import bulk, make_supercell

from aiida_mlfc.core.potentials.derivatives.energy_derivatives import energy_forces
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.training.references import Reference

from .small_systems import SPECIES, EmbeddedAtoms


def toy_reference() -> Reference:
    """Sixteen atoms, 2 x 2 x 2 primitive cells, eight random displacements of 0.01 Å."""
    primitive = bulk('NaCl', 'rocksalt', a=5.64)
    supercell = make_supercell(primitive, 2 * np.eye(3, dtype=int))
    displacements = 0.01 * np.random.default_rng(0).standard_normal((8, len(supercell), 3)) / np.sqrt(3)
    model, forces = EmbeddedAtoms(), []
    for u in displacements:
        moved = supercell.copy()
        moved.positions += u
        forces.append(energy_forces(model, build_graph(moved, model.cutoff, SPECIES))[1].numpy())
    return Reference('toy', supercell, primitive, displacements, np.array(forces), None, {'name': 'toy'})
