"""Rows of the Hessian along chosen displacement directions, one backward pass each, the graph kept.

Why this mode: reverse over reverse with the graph kept is the cheapest exact product on CPU. It takes four to five
times the memory of one energy and forces (M3GNet, quartz with 72 atoms and a triclinic crystal with 160). Why float64:
float32 products are right to about 1e-6 relative, which soft modes can see.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.interface import EnergyModel


def directional_responses(
    model: EnergyModel,
    graph: AtomGraph,
    atoms: np.ndarray,
    directions: np.ndarray,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Linear force response -H u to unit displacements of single atoms, and the forces at rest.

    :param atoms: index of the displaced atom, shape ``(n_directions,)``.
    :param directions: unit vectors, shape ``(n_directions, 3)``.
    :param progress: called with (done, total) after each direction.
    :return: responses, shape ``(n_directions, n_atoms, 3)``, eV/Å², and forces at rest, ``(n_atoms, 3)``, eV/Å.
    """
    positions = graph.positions.detach().requires_grad_(True)
    with torch.enable_grad():
        energy = model(graph.with_positions(positions)).sum()
        (gradient,) = torch.autograd.grad(energy, positions, create_graph=True)
    responses = np.empty((len(atoms), graph.n_atoms, 3))
    unit = torch.zeros_like(gradient)
    for k, (atom, direction) in enumerate(zip(atoms, directions, strict=True)):
        unit.zero_()
        unit[int(atom)] = torch.as_tensor(direction, dtype=unit.dtype, device=unit.device)
        keep = k + 1 < len(atoms)
        (product,) = torch.autograd.grad(gradient, positions, grad_outputs=unit, retain_graph=keep)
        responses[k] = -product.detach().cpu().numpy()
        if progress is not None:
            progress(k + 1, len(atoms))
    return responses, -gradient.detach().cpu().numpy()
