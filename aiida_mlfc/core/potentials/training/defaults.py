"""Settings for people who have force sets and no opinion: a model and a recipe that the data themselves suggest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from aiida_mlfc.core.potentials.dx.config import DXConfig
from aiida_mlfc.core.potentials.dx.expansion import ClusterExpansion
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.training.batches import Material
from aiida_mlfc.core.potentials.training.recipe import Recipe
from aiida_mlfc.core.potentials.training.references import Reference

#: small and linear in its messages: fits one chemistry to a per cent in minutes on two cores
_MODEL: dict[str, Any] = {
    'channels': 32,
    'n_layers': 2,
    'n_heads': 4,
    'cutoff': 5.0,
    'n_radial': 10,
    'nonlinear': False,
    'energy_scale': 5.0,
}
#: differences from the recipe of the shipped potentials, which learn eight materials at once: real supercells more
#: often, one primitive cell at rest in each step
_RECIPE: dict[str, Any] = {'supercell_share': 0.3, 'n_undisplaced': 1}
#: reach of triplets and spacing of their grid, Å, the best first
TRIPLETS = ((7.0, 0.45), (7.0, 0.6), (6.0, 0.6))
#: coefficients of one chemical system for which it is not the last: two elements on the first, three on the second
MOST_OF_FINER = 6_000
#: entries of the matrices of all of them: 4 GB, fourteen systems of two elements on the first, sixty on the second
MOST_ENTRIES_OF_FINER = 250_000_000
#: of the shortest distance of two species at rest: repulsion ends there, or at the shortest while displaced
REPULSION_SHARE = 0.85
#: a step costs the same for every material if its batch has about so many edges; below, it is limited by overhead
EDGES_PER_STEP = 1800
#: folded cells of one material in a step
MOST_REPEATS = 8
#: edges of all steps together: some 1000 s on one core (measured on SnO2: 0.4 s a step of 2900 edges)
EDGES_IN_ALL = 7.5e6
#: steps that are taken whatever they cost, and those that are enough for one material
FEWEST_STEPS, MOST_STEPS = 600, 2500


def default_config(references: Sequence[Reference], **changes: Any) -> DXConfig:
    """A dx model for the elements of the references, scaled to their number of neighbours.

    :param changes: fields of :class:`DXConfig` by name.
    :raises ValueError: for a field that there is not.
    """
    unknown = set(changes) - set(DXConfig.__dataclass_fields__)
    if unknown:
        raise ValueError(f'model: got {sorted(unknown)}, wanted fields of {", ".join(DXConfig.__dataclass_fields__)}')
    settings = {**_MODEL, **changes}
    species = tuple(sorted({int(z) for reference in references for z in reference.primitive.numbers}))
    settings.setdefault('species', species)
    if 'average_neighbours' not in settings:
        graphs = [build_graph(r.primitive, settings['cutoff'], tuple(settings['species'])) for r in references]
        settings['average_neighbours'] = round(float(np.mean([g.n_edges / g.n_atoms for g in graphs])), 1)
    settings.setdefault('repulsion', shortest_distances(references, settings['cutoff']))
    return DXConfig(**settings)


def shortest_distances(references: Sequence[Reference], cutoff: float) -> tuple[tuple[int, int, float], ...]:
    """Where repulsion ends, for ``DXConfig.repulsion``: shorter than all distances that are learned.

    :param cutoff: Å; pairs of species that are nowhere as near have none.
    """
    shortest: dict[tuple[int, int], float] = {}
    for reference in references:
        numbers = reference.supercell.numbers
        graph = build_graph(reference.supercell, cutoff, tuple(np.unique(numbers).tolist()))
        pairs, at_rest = graph.edge_index.numpy(), graph.edge_vectors().numpy()
        lengths = REPULSION_SHARE * np.linalg.norm(at_rest, axis=1)
        for u in reference.displacements:
            lengths = np.minimum(lengths, np.linalg.norm(at_rest + u[pairs[1]] - u[pairs[0]], axis=1))
        for a, b, length in zip(*np.sort(numbers[pairs], axis=0).tolist(), lengths.tolist(), strict=True):
            shortest[a, b] = min(length, shortest.get((a, b), np.inf))
    return tuple((a, b, round(length, 4)) for (a, b), length in sorted(shortest.items()))


def crystal_systems(references: Sequence[Reference]) -> tuple[tuple[int, ...], ...]:
    """Atomic numbers that occur together, for ``DXConfig.expansion_systems``."""
    return tuple(sorted({tuple(sorted({int(z) for z in r.primitive.numbers})) for r in references}))


def triplet_lengths(systems: Sequence[Sequence[int]], **changes: Any) -> dict[str, float]:
    """Reach and grid of the triplets of an expansion: what so many elements can be solved for in minutes.

    :param systems: atomic numbers that occur together.
    :param changes: fields of :class:`DXConfig` that are asked for.
    :return: fields of :class:`DXConfig`; none if one of these two is asked for.
    """
    if set(changes) & {'triplet_cutoff', 'triplet_spacing'}:
        return {}
    pairs = [changes.get(name, getattr(DXConfig, name)) for name in ('pair_cutoff', 'pair_spacing')]
    for cutoff, spacing in TRIPLETS:
        sizes = [
            ClusterExpansion(n, [range(n)], pairs[0], cutoff, pairs[1], spacing).n_coefficients
            for n in map(len, systems)
        ]
        if max(sizes) <= MOST_OF_FINER and sum(n * n for n in sizes) <= MOST_ENTRIES_OF_FINER:
            break
    return {'triplet_cutoff': cutoff, 'triplet_spacing': spacing}


def default_recipe(seed: int, n_steps: int, **changes: Any) -> Recipe:
    """The recipe for few materials.

    :param changes: fields of :class:`Recipe` by name.
    :raises ValueError: for a field that there is not.
    """
    unknown = set(changes) - set(Recipe.__dataclass_fields__)
    if unknown:
        raise ValueError(f'recipe: got {sorted(unknown)}, wanted fields of {", ".join(Recipe.__dataclass_fields__)}')
    settings = {**_RECIPE, **changes}
    if 'betas' in settings:
        settings['betas'] = tuple(settings['betas'])
    return Recipe(**{'seed': seed, 'n_steps': n_steps, **settings})


def default_steps(materials: Sequence[Material], recipe: Recipe) -> int:
    """As many steps as the cost of one allows, by its number of edges; the same on every machine.

    :param materials: as often as they enter a step.
    """
    cells = [material.edges for material in materials]
    one_at_rest = float(np.mean([m.costly * m.cells[0].graph.n_edges for m in materials]))
    at_rest = min(recipe.n_undisplaced, len(materials)) * one_at_rest
    supercells = recipe.supercell_share * np.mean([m.costly * m.supercell.n_edges for m in materials])
    return int(np.clip(EDGES_IN_ALL / (sum(cells) + at_rest + supercells), FEWEST_STEPS, MOST_STEPS))


def repeated(materials: Sequence[Material], edges: int = EDGES_PER_STEP) -> list[Material]:
    """Each material as often as fills a batch: so many of its folded cells enter every step.

    :param edges: of a batch.
    """
    once = sum(material.edges for material in materials)
    return list(materials) * int(np.clip(round(edges / once), 1, MOST_REPEATS))
