"""The independent check: central differences of forces along the same directions, the graph rebuilt at each point."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ase import Atoms

from aiida_mlfc.core.potentials.derivatives.energy_derivatives import energy_forces
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.interface import EnergyModel

#: default step, Å; phonopy's
DEFAULT_DISTANCE = 0.01


def difference_responses(
    model: EnergyModel,
    structure: Atoms,
    atoms: np.ndarray,
    directions: np.ndarray,
    distance: float = DEFAULT_DISTANCE,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """(F(+h u) - F(-h u)) / 2h for each direction, and the forces at rest.

    :param atoms: index of the displaced atom, shape ``(n_directions,)``.
    :param directions: unit vectors, shape ``(n_directions, 3)``.
    :param distance: h in Å; the error is of order h².
    :return: responses, shape ``(n_directions, n_atoms, 3)``, eV/Å², and forces at rest, ``(n_atoms, 3)``, eV/Å.
    :raises ValueError: if ``distance`` is not positive.
    """
    if distance <= 0:
        raise ValueError(f'distance: got {distance} Å, wanted a positive step')

    def forces_at(displacement: np.ndarray | None, atom: int = 0) -> np.ndarray:
        moved = structure.copy()
        if displacement is not None:
            moved.positions[atom] += displacement
        graph = build_graph(moved, model.cutoff, model.species, model.dtype, model.device)
        return energy_forces(model, graph)[1].cpu().numpy()

    responses = np.empty((len(atoms), len(structure), 3))
    for k, (atom, direction) in enumerate(zip(atoms, directions, strict=True)):
        step = distance * np.asarray(direction)
        responses[k] = (forces_at(step, int(atom)) - forces_at(-step, int(atom))) / (2 * distance)
        if progress is not None:
            progress(k + 1, len(atoms))
    return responses, forces_at(None)
