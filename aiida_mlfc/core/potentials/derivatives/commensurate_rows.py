"""Φ(q) of potentials whose inside cannot be reached: rows of the smallest supercell into which each wave fits.

The q-space engine puts Bloch phases on ``graph.neighbours``; a potential that reads its neighbours elsewhere (an
exported model, a kernel of its own) must be asked through supercells. Exact as well, and dearer: one supercell for each
star of wave vectors.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ase import Atoms

from aiida_mlfc.core.potentials.derivatives.hermitian import check_hermitian
from aiida_mlfc.core.potentials.derivatives.rows import directional_responses
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.structures.commensurate import MAX_CELLS, commensurate_supercell
from aiida_mlfc.core.structures.little_group import Arm, Stars


def commensurate_force_constants(
    model: EnergyModel,
    atoms: Atoms,
    stars: Stars,
    max_cells: int = MAX_CELLS,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Φ(q)_iα,jβ = Σ_S Φ(i α 0; j β S) exp(2πi q·S) at the wave vectors of ``stars``.

    :param atoms: the cell whose operations ``stars`` hold.
    :param max_cells: refuse a wave vector whose supercell is larger.
    :param progress: called with (done, total) stars.
    :return: shape ``(n_q, 3 n_atoms, 3 n_atoms)``, complex128, eV/Å².
    :raises ValueError: for a wave vector that is no fraction, or whose supercell is too large.
    :raises RuntimeError: if Φ(q) is not Hermitian.
    """
    matrices = []
    for k, arm in enumerate(stars.arms):
        matrices.append(_at(model, atoms, arm, max_cells))
        if progress is not None:
            progress(k + 1, len(stars.arms))
    return stars.carried(matrices)


def _at(model: EnergyModel, atoms: Atoms, arm: Arm, max_cells: int) -> np.ndarray:
    """Φ at one wave vector: Hessian rows of the first cell, folded with the phases of the others."""
    supercell = commensurate_supercell(atoms, arm.qpoint, max_cells)
    graph = build_graph(supercell.atoms, model.cutoff, model.species, model.dtype, model.device)
    n = len(atoms)
    displaced, directions = np.arange(n).repeat(3), np.tile(np.eye(3), (n, 1))
    responses, _ = directional_responses(model, graph, displaced, directions)
    phases = np.exp(2j * np.pi * supercell.cells @ arm.qpoint)
    phi = np.asarray(np.einsum('s,xsy->xy', phases, -responses.reshape(3 * n, len(phases), 3 * n)))
    check_hermitian(np.eye(3 * n), phi.T, model.dtype)
    return phi
