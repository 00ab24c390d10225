"""Design rows of what harmonic forces become when a crystal is strained and its atoms shift, a little and far."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from aiida_mlfc.core.potentials.derivatives.energy_derivatives import energy_forces
from aiida_mlfc.core.potentials.dx.expansion import ClusterExpansion
from aiida_mlfc.core.potentials.dx.model import DXModel
from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.training.batches import Material
from aiida_mlfc.core.potentials.training.expansion_rows import Terms, force_rows
from aiida_mlfc.core.potentials.training.harmonic_labels import DISPLACEMENT
from aiida_mlfc.core.potentials.training.recipe import Recipe
from aiida_mlfc.core.potentials.training.third_order import ThirdOrder
from aiida_mlfc.core.structures.sublattices import folded_pairs, sites_of

#: of each folded cell; their rms strain in each component, and rms shift of each atom in each direction, Å
DISTORTIONS, STRAIN, SHIFT = 2, 0.01, 0.02
#: shifts of a supercell whose third order is known; for each folded cell, changes of volume and strains of any kind
SHIFTED, STRAINED = 6, 2
#: rms displacement of each coordinate, Å, and the share of the shortest distance that it does not exceed, where forces
#: are held near harmonic ones
FAR, FAR_SHARE = 0.2, 0.125
#: rows of them for each coefficient, and the most coefficients for which so many are computed. Fewer rows than
#: coefficients do harm: quartz, displaced by 0.15 Å, was driven back with 1.1 and 1.5 rows for each, and with 0.1 fell
#: farther than without any; so did KCaCO3F, of 19,605 coefficients, from 0.1 Å. LiZnGeO, of 10,510, was driven back
#: from 0.2 Å in all of 4 draws without any, and with 1.5 for each in one
FAR_ROWS, FAR_COEFFICIENTS = 1.5, 10_000
#: atoms whose rows are computed at once: many displacements of a small cell cost little more than one
TOGETHER = 64
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


def far_forces(model: DXModel, terms: Terms, material: Material, recipe: Recipe) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows of the forces of folded cells displaced far, and what is left for them of harmonic ones, relative to these.

    None for systems of more than :data:`FAR_COEFFICIENTS` coefficients.

    :param model: its expansion says nothing yet.
    """
    assert model.expansion is not None
    n = len(terms.columns)
    if n > FAR_COEFFICIENTS:
        return
    rng = np.random.default_rng(recipe.seed)
    draws = math.ceil(FAR_ROWS * n / sum(3 * cell.graph.n_atoms for cell in material.cells))
    for cell in material.cells:
        graph = cell.graph.to(torch.float64, 'cpu')
        atoms = Atoms(
            numbers=np.array(model.species)[graph.atom_types.argmax(1).numpy()],
            positions=graph.positions.numpy(), cell=graph.cell[0].numpy(), pbc=True,
        )  # fmt: skip
        # neighbours of the crystal at rest: displaced atoms may be as near as they like, and none comes from farther
        wide = build_graph(atoms, model.cutoff + 4 * FAR, tuple(model.species))
        factor = min(FAR, FAR_SHARE * float(wide.edge_vectors().norm(dim=1).min())) / DISPLACEMENT
        at_once = max(1, TOGETHER // graph.n_atoms)
        for few in (range(start, min(start + at_once, draws)) for start in range(0, draws, at_once)):
            drawn = [cell.draw('white', rng)[:2] for _ in few]
            u, force = (factor * torch.as_tensor(np.array(some)) for some in zip(*drawn, strict=True))
            moved = wide.copies(wide.positions + u)
            rows = force_rows(model.expansion, terms, moved)
            left = force.flatten(0, 1) - energy_forces(model, moved)[1].detach()
            sizes = force.flatten(1).norm(dim=1) * (len(material.cells) * draws) ** 0.5
            scale = 1 / sizes.repeat_interleave(3 * graph.n_atoms)
            yield scale[:, None] * rows, scale * left.reshape(-1)


def known_changes(
    model: DXModel, terms: Terms, material: Material, third: ThirdOrder, recipe: Recipe
) -> list[tuple[Tensor, Tensor]]:
    """Rows of the first change of harmonic forces, and what is left for them of that of third order.

    Half of them are of the supercell with its atoms shifted, half of the folded cells under strain, displaced as in
    training: where soft modes are drawn larger their change counts like that of hard ones. Residuals are relative to
    all labels of their half.

    :param model: its expansion says nothing yet.
    :param third: of the supercell.
    """
    rng = np.random.default_rng(recipe.seed)
    found = [
        *_in_proportion(_shifted(model, terms, material, third, rng)),
        *_in_proportion(_strained(model, terms, material, third, recipe, rng)),
    ]
    return [(rows / 2**0.5, labels / 2**0.5) for rows, labels in found]


def _in_proportion(found: Iterator[tuple[Tensor, Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """Rows and what is left for them, relative to all labels."""
    some = list(found)
    size = sum(float(labels.square().sum()) for _, labels, _ in some) ** 0.5
    return [(rows / size, (labels - of_rest) / size) for rows, labels, of_rest in some]


def _shifted(
    model: DXModel, terms: Terms, material: Material, third: ThirdOrder, rng: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Rows, labels, and what the rest of the model says, of the supercell with all atoms shifted."""
    graph = material.supercell.to(torch.float64, 'cpu')
    for _ in range(SHIFTED):
        shifts = SMALL * SHIFT * rng.standard_normal((graph.n_atoms, 3))
        u = np.zeros((graph.n_atoms, 3))
        u[third.atoms] = SMALL * DISPLACEMENT * rng.standard_normal((len(third.atoms), 3))
        change = -np.einsum('ijab,ia->jb', third.change(np.zeros((3, 3)), shifts), u[third.atoms])
        rows, of_rest = _first_change(model, terms, graph, np.zeros((3, 3)), shifts, u)
        yield rows, torch.as_tensor(change).reshape(-1), of_rest


def _strained(
    model: DXModel, terms: Terms, material: Material, third: ThirdOrder, recipe: Recipe, rng: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The same of the folded cells under strain: as many times larger and smaller as of other shape."""
    whole = material.supercell.to(torch.float64, 'cpu')
    species = whole.atom_types.argmax(1).numpy()
    for cell in material.cells:
        graph = cell.graph.to(torch.float64, 'cpu')
        vectors = graph.cell[0].numpy()
        periods = whole.cell[0].numpy() @ np.linalg.inv(vectors)
        if np.abs(periods - np.rint(periods)).max() > 1e-3:
            # a wave vector that the supercell does not hold
            continue
        owner, sites = sites_of(vectors, whole.positions.numpy(), species)
        apart = (whole.positions[sites] - graph.positions).numpy() @ np.linalg.inv(vectors)
        if np.abs(apart - np.rint(apart)).max() > 1e-3:
            raise ValueError(f'{material.name}: atoms of a folded cell are not those of its supercell, in their order')
        folded = folded_pairs(third.strained, owner, sites)
        for strain in [np.eye(3)] * STRAINED + [rng.standard_normal((3, 3)) for _ in range(STRAINED)]:
            strain = SMALL * STRAIN * (strain + strain.T) / 2
            u, _, factors = cell.draw('half' if recipe.half else 'white', rng)
            u = SMALL * u
            change = -np.einsum('ijabcd,cd,jb->ia', folded, strain, u)
            rows, of_rest = _first_change(model, terms, graph, strain, np.zeros_like(u), u)
            scale = torch.as_tensor(factors).reshape(-1) / u.size**0.5
            yield scale[:, None] * rows, scale * torch.as_tensor(change).reshape(-1), scale * of_rest


def _first_change(
    model: DXModel, terms: Terms, graph: AtomGraph, strain: np.ndarray, shifts: np.ndarray, u: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Rows of the expansion, and the change that the rest of the model has."""
    assert model.expansion is not None
    of_rest = torch.zeros(u.size, dtype=torch.float64)
    for moved, weight in _sides(graph, strain, shifts, u, 1):
        of_rest += weight * energy_forces(model, moved)[1].detach().reshape(-1)
    return _change(model.expansion, terms, graph, strain, shifts, u, 1), of_rest


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
        total += weight * force_rows(expansion, terms, moved)
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
