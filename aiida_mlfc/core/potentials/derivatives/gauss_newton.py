"""The Gauss-Newton matrix JᵀJ: a labelled baseline that people have called force constants. It is NOT the Hessian.

Gauss and Newton drop the second derivatives of residuals r from the Hessian of ½ Σ r²: what is left, JᵀJ with
J = dr/dx, is good where residuals vanish. An energy is no sum of squares. Taken as r = E, one residual, J is minus the
forces: JᵀJ = F Fᵀ has rank 1 and vanishes at rest, where force constants are wanted. Taken as r_i = e_i, the energies
of the atoms of which E is the sum, it does not vanish; this is what is computed here.

JᵀJ has the symmetry of the crystal, is symmetric and obeys the acoustic sum rule, so no check of these finds anything
wrong. But it never has a negative eigenvalue, so that at the q-points of its supercell every crystal looks stable; it
is blind to the optical modes of silicon and rock salt at Γ, where no e_i changes to first order; it depends on how a
model shares its energy among atoms, which has no meaning; and its unit is eV²/Å², so that an arbitrary energy has to
divide it. What it is worth: ``examples/benchmarks/three_ways.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.interface import EnergyModel

#: divides JᵀJ so that it has the unit of force constants, eV; nothing distinguishes this choice from another
ENERGY_UNIT = 1.0


def atomic_energies(model: EnergyModel, graph: AtomGraph) -> Tensor:
    """Contributions of the atoms to the energy, shape ``(n_atoms,)``, eV; only their sum has a meaning.

    Every atom is called a system of its own, in the same cell: a model sums over systems what it finds for each atom.
    """
    own = torch.arange(graph.n_atoms, dtype=graph.batch.dtype, device=graph.batch.device)
    return model(replace(graph, batch=own, cell=graph.cell.index_select(0, graph.batch)))


def gauss_newton_responses(
    model: EnergyModel,
    graph: AtomGraph,
    atoms: np.ndarray,
    directions: np.ndarray,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """-JᵀJ u of unit displacements of single atoms, in the place of the response -H u; and the forces at rest.

    Arguments and result as in :func:`aiida_mlfc.core.potentials.derivatives.rows.directional_responses`.

    :param atoms: index of the displaced atom, shape ``(n_directions,)``.
    :param directions: unit vectors, shape ``(n_directions, 3)``.
    :param progress: called with (done, total) after each direction.
    :return: responses, shape ``(n_directions, n_atoms, 3)``, eV/Å² after division by ``ENERGY_UNIT``, and forces at
        rest, ``(n_atoms, 3)``, eV/Å.
    :raises ValueError: if the energies of the atoms do not sum up to that of the crystal.
    """
    positions = graph.positions.detach().requires_grad_(True)
    with torch.enable_grad():
        moving = graph.with_positions(positions)
        energies = atomic_energies(model, moving)
        _check_sum(energies, model(graph))
        # Jᵀw is linear in w; its derivative with respect to w along u is J u, and no J is ever built.
        weights = torch.ones_like(energies, requires_grad=True)
        (gradient,) = torch.autograd.grad(energies, positions, grad_outputs=weights, create_graph=True)
        responses = np.empty((len(atoms), graph.n_atoms, 3))
        unit = torch.zeros_like(gradient)
        for k, (atom, direction) in enumerate(zip(atoms, directions, strict=True)):
            unit.zero_()
            unit[int(atom)] = torch.as_tensor(direction, dtype=unit.dtype, device=unit.device)
            (along,) = torch.autograd.grad(gradient, weights, grad_outputs=unit, retain_graph=True)
            (product,) = torch.autograd.grad(energies, positions, grad_outputs=along, retain_graph=True)
            responses[k] = -product.cpu().numpy() / ENERGY_UNIT
            if progress is not None:
                progress(k + 1, len(atoms))
    return responses, -gradient.detach().cpu().numpy()


def _check_sum(energies: Tensor, total: Tensor) -> None:
    difference = float((energies.detach().sum() - total.detach().sum()).abs())
    limit = 1e3 * torch.finfo(energies.dtype).eps * float(energies.detach().abs().sum())
    if not difference <= limit:
        raise ValueError(
            f'gauss_newton: energies of the atoms sum up to the energy of the crystal within {difference:.1e} eV, '
            f'wanted {limit:.1e}: this potential is no sum over atoms, use method autograd'
        )
