"""How phonon frequencies answer to strain, atomic positions and species: one more derivative of Φ(q), exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from aiida_mlfc.core.potentials.derivatives.qspace import BlochForceConstants
from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.interface import EnergyModel

Variable = Literal['strain', 'positions', 'atom_types']
VARIABLES: tuple[Variable, ...] = ('strain', 'positions', 'atom_types')
#: squared frequencies closer than this, relative to the largest, count as one degenerate block
DEGENERATE = 1e-7


@dataclass(frozen=True)
class ModeDerivatives:
    """Squared frequencies of one q and their derivatives; what was not asked for is None.

    Within a degenerate block single derivatives have no meaning - a perturbation chooses its own modes among them -
    but their sum, the block's trace, has: each mode of a block carries the mean.

    :param squares: ω² ascending, shape ``(n_modes,)``, eV/Å²/amu; negative for imaginary modes.
    :param blocks: number of the degenerate block of each mode, shape ``(n_modes,)``.
    :param strain: dω²/dε with ``x -> x (1 + ε)`` of positions and cell, atoms not relaxed further, q at fixed reduced
        coordinates; shape ``(n_modes, 3, 3)``, eV/Å²/amu.
    :param positions: dω²/dx with every periodic image moving along, shape ``(n_modes, n_atoms, 3)``, eV/Å³/amu.
    :param atom_types: dω²/dw of the species weights at fixed masses, shape ``(n_modes, n_atoms, n_species)``,
        eV/Å²/amu.
    """

    squares: np.ndarray
    blocks: np.ndarray
    strain: np.ndarray | None = None
    positions: np.ndarray | None = None
    atom_types: np.ndarray | None = None


def mode_derivatives(
    model: EnergyModel,
    graph: AtomGraph,
    masses: np.ndarray,
    qpoint: np.ndarray,
    wrt: Sequence[Variable] = ('strain',),
) -> ModeDerivatives:
    """Squared frequencies at one q, and their derivatives by a third backward pass.

    Where a distance passes the cutoff, a model that is smooth to second order only has third derivatives that jump.
    All columns of Φ(q) are one batch, kept for the third pass.

    :param masses: shape ``(n_atoms,)``, amu.
    :param qpoint: reduced coordinates, shape ``(3,)``.
    :param wrt: any of ``strain``, ``positions``, ``atom_types``.
    :raises ValueError: for another variable.
    """
    if not wrt or set(wrt) - set(VARIABLES):
        raise ValueError(f'wrt: got {tuple(wrt)}, wanted some of {", ".join(VARIABLES)}')
    leaves = {
        'strain': torch.zeros_like(graph.cell),
        'positions': graph.positions.detach().clone(),
        'atom_types': graph.atom_types.detach().clone(),
    }
    asked = [leaves[name].requires_grad_(True) for name in wrt]
    with torch.enable_grad():
        moved = replace(graph, positions=leaves['positions'], atom_types=leaves['atom_types'])
        engine = BlochForceConstants(model, moved.strained(leaves['strain']))
        q = torch.as_tensor(qpoint, dtype=torch.float64, device=graph.positions.device)
        matrix = engine.matrix(q, create_graph=True)
        roots = torch.as_tensor(masses, dtype=graph.cell.dtype, device=graph.cell.device).sqrt().repeat_interleave(3)
        matrix = (matrix + matrix.mH) / 2 / torch.outer(roots, roots)
        squares = torch.linalg.eigvalsh(matrix)
        blocks = _blocks(squares.detach().cpu().numpy())
        found: list[list[np.ndarray]] = []
        for block in range(blocks[-1] + 1):
            members = np.flatnonzero(blocks == block)
            mean = squares[members[0] : members[-1] + 1].mean()
            gradients = torch.autograd.grad(mean, asked, retain_graph=True, materialize_grads=True)
            found += [[gradient.cpu().numpy() for gradient in gradients]] * len(members)
    by_variable = {name: np.array([row[k] for row in found]) for k, name in enumerate(wrt)}
    if 'strain' in by_variable:
        by_variable['strain'] = by_variable['strain'][:, 0]
    return ModeDerivatives(squares.detach().cpu().numpy(), blocks, **by_variable)


def _blocks(squares: np.ndarray) -> np.ndarray:
    """Number of the degenerate block of each of the ascending ``squares``."""
    gaps = np.diff(squares) > DEGENERATE * np.abs(squares).max()
    return np.concatenate(([0], np.cumsum(gaps)))
