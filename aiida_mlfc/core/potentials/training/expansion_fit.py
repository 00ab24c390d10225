"""The cluster expansion by linear least squares: the residuals of the loss, and a prior of smooth functions.

Forces and stress are linear in the coefficients, so the minimum is found by solving once. What the data leave open, the
prior decides: pair functions with small third differences, small and smooth triplet terms. Without it, functions that
are right at the distances of one crystal are wild between them, and wrong at any other volume.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from aiida_mlfc.core.potentials.derivatives.energy_derivatives import energy_forces_stress
from aiida_mlfc.core.potentials.dx.expansion import DEGREES, ClusterExpansion, edge_functions
from aiida_mlfc.core.potentials.dx.model import DXModel
from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.training.batches import Material
from aiida_mlfc.core.potentials.training.recipe import Recipe
from aiida_mlfc.core.units import EV_PER_CUBIC_ANGSTROM_IN_GPA

#: draws of each kind of displacement for each folded cell, each in both directions: what is odd in it is harmonic
DRAWS = 3
#: DFT supercells of a material that are learned from
MOST_SUPERCELLS = 12
#: weights of the prior, beside mean squared relative errors of forces: third differences of pair coefficients at
#: ``TYPICAL`` and growing as r⁸, pair coefficients, triplet coefficients, in 1/eV²; and the change of forces with
#: random distortions of the crystal, relative to forces
PRIOR = {'pair_roughness': 1e-7, 'pair_size': 1e-6, 'triplet_size': 1e-5, 'distortion': 0.1}
#: of each folded cell; their rms strain in each component, and rms shift of each atom in each direction, Å
DISTORTIONS, STRAIN, SHIFT = 2, 0.01, 0.02
#: what a dense matrix of normal equations allows: three of them are 6 GiB
MOST_SOLVED_FOR = 16_000
#: distance of neighbours, Å
TYPICAL = 2.5


class Rows(NamedTuple):
    """Derivatives of the expansion with respect to its coefficients, flat: pairs first.

    :param forces: shape ``(n_atoms, 3, n_coefficients)``, 1/Å.
    :param virial: Σ_edges dE/dr_α r_β, shape ``(3, 3, n_coefficients)``.
    """

    forces: Tensor
    virial: Tensor


def fit_expansion(
    model: DXModel, materials: Sequence[Material], recipe: Recipe, prior: dict[str, float] | None = None
) -> float:
    """Solve for the coefficients of ``model.expansion``, the rest of the model as it is.

    :param prior: in place of entries of :data:`PRIOR`.
    :return: share of the squared forces that is left, as a root: the relative error of forces.
    :raises ValueError: if the model has no expansion, or one of more than :data:`MOST_SOLVED_FOR`.
    """
    expansion = model.expansion
    if expansion is None:
        raise ValueError('expansion: the model has none to fit; give its config expansion_systems')
    if expansion.n_coefficients > MOST_SOLVED_FOR:
        raise ValueError(
            f'expansion: got {expansion.n_coefficients} coefficients, wanted at most {MOST_SOLVED_FOR}: '
            'learn from fewer chemical systems, take a coarser triplet_spacing, or leave it out (--no-expansion)'
        )
    dtype, device, training = model.dtype, model.device, model.training
    model.to(dtype=torch.float64, device='cpu')
    expansion.pair_coefficients.zero_()
    expansion.triplet_coefficients.zero_()
    n = expansion.n_coefficients
    weights = PRIOR | (prior or {})
    matrix, right = torch.zeros(n, n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
    regular, total, given = _prior(expansion, weights), 0.0, 0.0
    for material in {id(material): material for material in materials}.values():
        for rows, labels, of_forces in _residuals(model, material, recipe):
            used = torch.nonzero(rows.abs().sum(0))[:, 0]
            part = rows[:, used]
            matrix[used[:, None], used[None]] += part.T @ part
            right[used] += part.T @ labels
            total, given = total + of_forces, given + float(labels.square().sum()) * (of_forces > 0)
        for rows in _changes(model, material, recipe):
            used = torch.nonzero(rows.abs().sum(0))[:, 0]
            regular[used[:, None], used[None]] += weights['distortion'] * rows[:, used].T @ rows[:, used]
    solution = torch.linalg.solve(matrix + regular, right)
    n_pairs = expansion.pair_coefficients.numel()
    expansion.pair_coefficients.copy_(solution[:n_pairs].view_as(expansion.pair_coefficients))
    expansion.triplet_coefficients.copy_(solution[n_pairs:].view_as(expansion.triplet_coefficients))
    model.to(dtype=dtype, device=device).train(training)
    left = given - 2 * float(right @ solution) + float(solution @ matrix @ solution)
    return float(np.sqrt(max(left, 0.0) / total)) if total else 0.0


def _residuals(model: DXModel, material: Material, recipe: Recipe) -> Iterator[tuple[Tensor, Tensor, float]]:
    """Rows, what the rest of the model leaves for them, and the squared forces there: weighted as in the loss."""
    assert model.expansion is not None
    rng = np.random.default_rng(recipe.seed)
    kinds = [(k, w) for k, w in (('white', recipe.white), ('half', recipe.half), ('full', recipe.full)) if w > 0]
    shares = sum(w for _, w in kinds)
    emphasis = recipe.emphasis.get(material.name, 1.0)
    for cell in material.cells if recipe.folded else ():
        graph = cell.graph.to(torch.float64, 'cpu')
        for kind, share in kinds:
            weight = emphasis * share / shares / len(material.cells) / DRAWS
            weight *= recipe.full_weight if kind == 'full' else 1.0
            for _ in range(DRAWS):
                u, force, factors = cell.draw(kind, rng)
                rows, found = (
                    (one - other) / 2
                    for one, other in zip(
                        *(_forces(model, graph.with_positions(graph.positions + sign * torch.as_tensor(u)))
                          for sign in (1, -1)), strict=True)
                )  # fmt: skip
                scale = torch.as_tensor(factors).reshape(-1) * (weight / u.size) ** 0.5
                labels = torch.as_tensor(force).reshape(-1)
                yield scale[:, None] * rows, scale * (labels - found), float((scale * labels).square().sum())
    n = len(material.forces)
    chosen = np.unique(np.linspace(0, n - 1, min(n, MOST_SUPERCELLS)).round().astype(int))
    share = recipe.supercell_share if recipe.folded else 1.0
    for k in chosen:
        moved = material.supercell.with_positions(material.supercell.positions + material.displacements[k])
        rows, found = _forces(model, moved.to(torch.float64, 'cpu'))
        labels = material.forces[k].to('cpu', torch.float64).reshape(-1)
        weight = (emphasis * share / len(chosen) / len(labels) / float(labels.square().mean())) ** 0.5
        yield weight * rows, weight * (labels - found), emphasis * share / len(chosen)
    at_rest = material.cells[0].graph.to(torch.float64, 'cpu')
    rows, found = _forces(model, at_rest)
    weight = (emphasis / len(found)) ** 0.5 / material.force_scale
    yield weight * rows, -weight * found, 0.0
    virial = derivative_rows(model.expansion, at_rest).virial.flatten(0, 1)
    stress = energy_forces_stress(model, at_rest)[2][0].detach().reshape(-1)
    weight = (emphasis * recipe.stress_weight) ** 0.5
    yield weight * EV_PER_CUBIC_ANGSTROM_IN_GPA / float(at_rest.volumes()) * virial, -weight * stress, 0.0


def _changes(model: DXModel, material: Material, recipe: Recipe) -> Iterator[Tensor]:
    """Rows of how harmonic forces change when the crystal is distorted, of which one geometry says next to nothing."""
    assert model.expansion is not None
    rng = np.random.default_rng(recipe.seed)
    for cell in [cell for cell in material.cells for _ in range(DISTORTIONS)]:
        graph = cell.graph.to(torch.float64, 'cpu')
        u, _, factors = cell.draw('half' if recipe.half else 'white', rng)
        strain = STRAIN * rng.standard_normal((3, 3))
        shifts = torch.as_tensor(SHIFT * rng.standard_normal(u.shape))
        change = torch.zeros(u.size, model.expansion.n_coefficients, dtype=torch.float64)
        for side in (1, -1):
            strained = graph.strained(side * torch.as_tensor(strain + strain.T)[None] / 2)
            for sign in (1, -1):
                moved = strained.with_positions(strained.positions + side * shifts + sign * torch.as_tensor(u))
                change += side * sign / 4 * derivative_rows(model.expansion, moved).forces.flatten(0, 1)
        scale = torch.as_tensor(factors).reshape(-1) / (u.size * len(material.cells) * DISTORTIONS) ** 0.5
        yield scale[:, None] * change


def _forces(model: DXModel, graph: AtomGraph) -> tuple[Tensor, Tensor]:
    """Rows of forces by coefficients, and the forces of the model without the expansion."""
    assert model.expansion is not None
    forces = energy_forces_stress(model, graph)[1].detach()
    return derivative_rows(model.expansion, graph).forces.flatten(0, 1), forces.reshape(-1)


def derivative_rows(expansion: ClusterExpansion, graph: AtomGraph) -> Rows:
    """What each coefficient adds to forces and virial, if it is one; species are columns, not mixtures.

    :param graph: one system, float64.
    """
    vectors = graph.edge_vectors()
    pairs = _pair_derivatives(expansion, graph, vectors)
    near = torch.nonzero(vectors.norm(dim=1) < expansion.triplet_splines.cutoff)[:, 0]
    triplets = _triplet_derivatives(expansion, graph.within(near), vectors[near])
    sizes = expansion.pair_coefficients.numel(), expansion.triplet_coefficients.numel()
    parts = [
        _gathered(pairs, sizes[0], graph, vectors),
        _gathered(triplets, sizes[1], graph.within(near), vectors[near]),
    ]
    return Rows(*(torch.cat(both, -1) for both in zip(*parts, strict=True)))


def _gathered(
    parts: Iterator[tuple[Tensor, Tensor, slice]], n: int, graph: AtomGraph, vectors: Tensor
) -> tuple[Tensor, Tensor]:
    """Forces and virial of all parts: edges, dE/dr of shape ``(n_edges, 3, n_columns)``, which of n columns."""
    forces, virial = vectors.new_zeros(graph.n_atoms, 3, n), vectors.new_zeros(3, 3, n)
    for edges, gradient, columns in parts:
        centre, neighbour = graph.edge_index[:, edges]
        forces[:, :, columns].index_add_(0, centre, gradient)
        forces[:, :, columns].index_add_(0, neighbour, -gradient)
        virial[:, :, columns] += torch.einsum('eaf,eb->abf', gradient, vectors[edges])
    return forces, virial


def _pair_derivatives(
    expansion: ClusterExpansion, graph: AtomGraph, vectors: Tensor
) -> Iterator[tuple[Tensor, Tensor, slice]]:
    distances = vectors.norm(dim=1)
    _, slopes = torch.func.jvp(expansion.pair_splines, (distances,), (torch.ones_like(distances),))
    types = graph.atom_types.argmax(1)
    centre, neighbour = graph.centres(types), graph.neighbours(types)
    n = slopes.shape[1]
    for k, (a, b) in enumerate(expansion.pairs):
        edges = torch.nonzero(((centre == a) & (neighbour == b)) | ((centre == b) & (neighbour == a)))[:, 0]
        units = vectors[edges] / distances[edges, None]
        gradient = units[:, :, None] * slopes[edges, None] / 2
        yield edges, gradient, slice(k * n, (k + 1) * n)


def _triplet_derivatives(
    expansion: ClusterExpansion, graph: AtomGraph, vectors: Tensor
) -> Iterator[tuple[Tensor, Tensor, slice]]:
    functions = edge_functions(expansion, vectors)
    slopes = torch.stack(
        [
            torch.func.jvp(lambda v: edge_functions(expansion, v), (vectors,), (axis.expand_as(vectors),))[1]
            for axis in torch.eye(3, dtype=vectors.dtype)
        ],
        1,
    )
    present = torch.nonzero(graph.atom_types.sum(0))[:, 0].tolist()
    moments = expansion.moments(graph, functions, present)
    types = graph.atom_types.argmax(1)
    centre, neighbour = graph.centres(types), graph.neighbours(types)
    m = expansion.triplet_splines.n
    n = len(DEGREES) * m * m
    for k, (c, first, second) in enumerate(expansion.triplets):
        # the product rule: the moving neighbour is in the first moment, or in the second
        for moving, other, swapped in ((first, second, False), (second, first, True)):
            chosen = (centre == c) & (neighbour == moving)
            edges = torch.nonzero(chosen if other in present else torch.zeros_like(chosen))[:, 0]
            here = graph.centres(moments)[edges][:, present.index(other) if other in present else 0]
            order = 'exam,ebm->exba' if swapped else 'exam,ebm->exab'
            gradient = [torch.einsum(order, slopes[edges][..., rows], here[..., rows]) for rows in DEGREES]
            yield edges, torch.stack(gradient, 2).flatten(2), slice(k * n, (k + 1) * n)


def _prior(expansion: ClusterExpansion, weights: dict[str, float]) -> Tensor:
    """The quadratic form of the prior, shape ``(n_coefficients, n_coefficients)``."""
    splines, m = expansion.pair_splines, expansion.triplet_splines.n
    eye = torch.eye(splines.n, dtype=torch.float64)
    third = torch.diff(eye, n=3, dim=0)
    # between the second and the third of four neighbouring splines
    at = splines.first + splines.spacing * (torch.arange(len(third), dtype=torch.float64) + 1.5)
    # What is left of an interaction at twice the distance is a small part of it, and so is its roughness.
    third = (at / TYPICAL)[:, None] ** 4 * third
    pair = weights['pair_roughness'] * third.T @ third + weights['pair_size'] * eye
    triplet = weights['triplet_size'] * torch.eye(m * m, dtype=torch.float64)
    size, n_blocks = expansion.n_coefficients, len(expansion.triplets) * len(DEGREES)
    result, start = torch.zeros(size, size, dtype=torch.float64), 0
    for block in [pair] * len(expansion.pairs) + [triplet] * n_blocks:
        result[start : start + len(block), start : start + len(block)] = block
        start += len(block)
    return result
