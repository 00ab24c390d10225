"""Elastic constants with relaxed ions, from exact second derivatives: no strain to choose."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.relaxation.expansion import Expansion
from aiida_mlfc.core.units import EV_PER_CUBIC_ANGSTROM_IN_GPA

#: Voigt's order: xx, yy, zz, yz, xz, xy
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def elastic_constants(atoms: Atoms, model: EnergyModel) -> np.ndarray:
    """C = (E_εε - E_εx E_xx⁻¹ E_xε) / V, at the geometry that is given.

    X. Wu, D. Vanderbilt and D. R. Hamann, Phys. Rev. B 72, 035105 (2005), eq. 13: atoms follow the strain. What they
    are is elastic constants where neither forces nor stress are left.

    :return: shape ``(6, 6)``, GPa, in Voigt's notation; positive definite if the crystal withstands every strain.
    """
    return elastic_constants_of(build_graph(atoms, model.cutoff, model.species, model.dtype, model.device), model)


def elastic_constants_of(graph: AtomGraph, model: EnergyModel) -> np.ndarray:
    """:func:`elastic_constants` of a graph of one crystal."""
    expansion = Expansion(model, [graph])
    n = graph.n_atoms
    strains = np.zeros((6, 3, 3))
    for strain, (i, j) in zip(strains, VOIGT, strict=True):
        strain[i, j] += 0.5
        strain[j, i] += 0.5
    still, unstrained = np.zeros((n, 3)), np.zeros((3, 3))
    moves = np.eye(3 * n).reshape(3 * n, n, 3)
    of_moves = np.stack([expansion.products([(move, unstrained)])[0][0].reshape(-1) for move in moves])
    of_strains = [expansion.products([(still, strain)])[0] for strain in strains]
    coupling = np.stack([of_positions.reshape(-1) for of_positions, _ in of_strains], axis=1)
    clamped = np.array([[np.sum(change * strain) for strain in strains] for _, change in of_strains])
    # rigid translations cost nothing, and no strain pushes along them
    relaxed = clamped - coupling.T @ np.linalg.pinv((of_moves + of_moves.T) / 2, rcond=1e-8, hermitian=True) @ coupling
    return np.asarray((relaxed + relaxed.T) / 2 / float(graph.volumes()) * EV_PER_CUBIC_ANGSTROM_IN_GPA)
