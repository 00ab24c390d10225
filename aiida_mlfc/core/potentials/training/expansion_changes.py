"""Design rows of how the harmonic forces of an expansion change when its crystal is strained and its atoms shift."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from aiida_mlfc.core.potentials.derivatives.energy_derivatives import energy_forces
from aiida_mlfc.core.potentials.dx.expansion import ClusterExpansion
from aiida_mlfc.core.potentials.dx.model import DXModel
from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.training.batches import Material
from aiida_mlfc.core.potentials.training.expansion_rows import Terms, derivative_rows
from aiida_mlfc.core.potentials.training.harmonic_labels import DISPLACEMENT
from aiida_mlfc.core.potentials.training.recipe import Recipe
from aiida_mlfc.core.potentials.training.third_order import ThirdOrder

#: of each folded cell; their rms strain in each component, and rms shift of each atom in each direction, Å
DISTORTIONS, STRAIN, SHIFT = 2, 0.01, 0.02
#: of a supercell whose third order is known
CHANGES = 6
#: how much smaller its distortions and displacements are, so that what is found is the first order of both
SMALL = 0.1
#: by order in the distortion: how much of it, and the factor of the difference
_DIFFERENCES = {1: ((1, 0.5), (-1, -0.5)), 2: ((1, 1.0), (0, -2.0), (-1, 1.0))}


def distortions(
    expansion: ClusterExpansion, terms: Terms, material: Material, recipe: Recipe, order: int
) -> Iterator[Tensor]:
    """Rows of the first or second change of harmonic forces, relative to forces, for random distortions.

    :param order: 1 or 2.
    """
    rng = np.random.default_rng(recipe.seed)
    for cell in [cell for cell in material.cells for _ in range(DISTORTIONS)]:
        graph = cell.graph.to(torch.float64, 'cpu')
        u, _, factors = cell.draw('half' if recipe.half else 'white', rng)
        strain = STRAIN * rng.standard_normal((3, 3))
        shifts = SHIFT * rng.standard_normal(u.shape)
        change = _change(expansion, terms, graph, (strain + strain.T) / 2, shifts, u, order)
        scale = torch.as_tensor(factors).reshape(-1) / (u.size * len(material.cells) * DISTORTIONS) ** 0.5
        yield scale[:, None] * change


def known_changes(
    model: DXModel, terms: Terms, material: Material, third: ThirdOrder, seed: int
) -> list[tuple[Tensor, Tensor]]:
    """Rows of the first change of harmonic forces of the supercell, and what is left for them of that of third order.

    Residuals are relative to all of it.

    :param model: its expansion says nothing yet.
    :param third: of the supercell.
    """
    assert model.expansion is not None
    rng = np.random.default_rng(seed)
    graph = material.supercell.to(torch.float64, 'cpu')
    found, size = [], 0.0
    for _ in range(CHANGES):
        strain = SMALL * STRAIN * rng.standard_normal((3, 3))
        strain = (strain + strain.T) / 2
        shifts = SMALL * SHIFT * rng.standard_normal((graph.n_atoms, 3))
        u = np.zeros((graph.n_atoms, 3))
        u[third.atoms] = SMALL * DISPLACEMENT * rng.standard_normal((len(third.atoms), 3))
        rows = _change(model.expansion, terms, graph, strain, shifts, u, 1)
        labels = torch.as_tensor(-np.einsum('ijab,ia->jb', third.change(strain, shifts), u[third.atoms])).reshape(-1)
        size += float(labels.square().sum())
        rest = sum(w * energy_forces(model, moved)[1].detach() for moved, w in _sides(graph, strain, shifts, u, 1))
        found.append((rows, labels - torch.as_tensor(rest).reshape(-1)))
    return [(rows / size**0.5, labels / size**0.5) for rows, labels in found]


def _change(
    expansion: ClusterExpansion,
    terms: Terms,
    graph: AtomGraph,
    strain: np.ndarray,
    shifts: np.ndarray,
    u: np.ndarray,
    order: int,
) -> Tensor:
    """Differences of the forces that are odd in u, shape ``(3 n_atoms, n_coefficients)``."""
    total = torch.zeros(u.size, len(terms.columns), dtype=torch.float64)
    for moved, weight in _sides(graph, strain, shifts, u, order):
        total += weight * derivative_rows(expansion, terms, moved).forces.flatten(0, 1)
    return total


def _sides(
    graph: AtomGraph, strain: np.ndarray, shifts: np.ndarray, u: np.ndarray, order: int
) -> Iterator[tuple[AtomGraph, float]]:
    """Distorted and displaced crystals, and the weights of the difference."""
    for side, factor in _DIFFERENCES[order]:
        strained = graph.strained(side * torch.as_tensor(strain)[None])
        for sign in (1, -1):
            moved = strained.positions + torch.as_tensor(side * shifts + sign * u)
            yield strained.with_positions(moved), sign * factor / 2
