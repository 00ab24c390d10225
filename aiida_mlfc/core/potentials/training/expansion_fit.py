"""The cluster expansion by linear least squares: the residuals of the loss, and a prior of smooth functions.

Forces and stress are linear in the coefficients, so the minimum is found by solving once. What the data leave open, the
prior decides (:mod:`~aiida_mlfc.core.potentials.training.expansion_prior`).

How harmonic forces change when a crystal is strained or distorted is learned where its set has third order
(:mod:`~aiida_mlfc.core.potentials.training.third_order`), and how that changes is held small. Of other sets the change
itself is. Forces far from rest are held near harmonic ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from phonopy.structure.atoms import PhonopyAtoms
from torch import Tensor, nn

from aiida_mlfc.core.potentials.derivatives.energy_derivatives import energy_forces_stress
from aiida_mlfc.core.potentials.dx.model import DXModel
from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.training.batches import Material
from aiida_mlfc.core.potentials.training.expansion_changes import distortions, far_forces, known_changes
from aiida_mlfc.core.potentials.training.expansion_prior import PRIOR, prior_blocks
from aiida_mlfc.core.potentials.training.expansion_rows import Terms, force_rows, terms_among, virial_rows
from aiida_mlfc.core.potentials.training.harmonic_labels import DISPLACEMENT
from aiida_mlfc.core.potentials.training.normal_equations import Elimination, NormalEquations
from aiida_mlfc.core.potentials.training.recipe import Recipe
from aiida_mlfc.core.potentials.training.third_order import ThirdOrder, third_order
from aiida_mlfc.core.units import EV_PER_CUBIC_ANGSTROM_IN_GPA

#: draws of each kind of displacement for each folded cell, each in both directions: what is odd in it is harmonic
DRAWS = 3
#: weights of the cells between commensurate q-points, beside all others. With optical branches at 0.1, too, SnO2 is
#: worse: held back 0.41 % in place of 0.22, from another source 8.0 in place of 5.1
BETWEEN = {'acoustic': 0.1, 'optical': 0.01}
#: DFT supercells of a material that are learned from, and their weight beside the folded cells, which have 1 as well.
#: With 0.3 quartz is 1.33 % off where it is 1.12 with 1, AlN 0.73 where 0.63
MOST_SUPERCELLS, SUPERCELLS = 12, 1.0
#: weights where third order is known: of the relative error of the changes it predicts, and of the second change with
#: distortions in place of the first. On silicon, at 0.01 for the former, force constants of DFT at two volumes differ
#: from what is learned of it by 9 %, at 0.03 by 11
THIRD_ORDER, CURVATURE = 0.01, 0.1
#: of the weight of harmonic forces far from rest where third order is known. It has its price there: forces of DFT on
#: silicon displaced by 0.07 Å, 1.7 % off without any, are 2.7; but after 0.2 Å in each direction it relaxes back
FAR_KNOWN = 0.1
#: coefficients of one chemical system, and of those that systems share: five elements. Four dense matrices of so many,
#: which elimination needs, are 13 GB
MOST_SOLVED_FOR = 20_000
#: entries of the matrices of all systems: 13 GB, two for each, beside those of the one that is solved
MOST_ENTRIES = 800_000_000


class FittedExpansion(NamedTuple):
    """What :func:`fit_expansion` says.

    :param left: share of the squared forces that is left, as a root: the relative error of forces.
    :param draws: by the types of each chemical system, differences from the coefficients, each of shape
        ``(n_draws, n_coefficients)``: draws from the posterior for residuals of size 1 in this system and none in
        others.
    :param third_order: names of the materials whose change with strain and distortion was learned.
    """

    left: float
    draws: dict[tuple[int, ...], Tensor]
    third_order: tuple[str, ...] = ()


def fit_expansion(
    model: DXModel,
    materials: Sequence[Material],
    recipe: Recipe,
    prior: dict[str, float] | None = None,
    n_draws: int = 0,
    progress: Callable[[str], None] = lambda doing: None,
) -> FittedExpansion:
    """Solve for the coefficients of ``model.expansion``, the rest of the model as it is.

    :param prior: in place of entries of :data:`PRIOR`.
    :param n_draws: from the posterior.
    :param progress: is told what is done next: it takes seconds to many minutes.
    :raises ValueError: if the model has no expansion, or one of more coefficients than can be solved for.
    """
    expansion = model.expansion
    if expansion is None:
        raise ValueError('expansion: the model has none to fit; give its config expansion_systems')
    systems: dict[tuple[int, ...], list[Material]] = {}
    for material in {id(material): material for material in materials}.values():
        systems.setdefault(types_of(material), []).append(material)
    terms = {types: terms_among(expansion, types) for types in systems}
    elimination = Elimination([some.columns for some in terms.values()])
    _check_size([len(some.columns) for some in terms.values()] + [int((elimination.uses > 1).sum())])
    dtype, device, training = model.dtype, model.device, model.training
    model.to(dtype=torch.float64, device='cpu')
    expansion.set_coefficients(torch.zeros(expansion.n_coefficients))
    weights, total, given = PRIOR | (prior or {}), 0.0, 0.0
    equations = {types: NormalEquations(terms[types].columns, n_draws, recipe.seed) for types in systems}
    known: list[str] = []
    begun = 0
    for types, alike in systems.items():
        here = equations[types]
        thirds = [_third_order(model, material, recipe) if weights['distortion'] else None for material in alike]
        known += [material.name for material, third in zip(alike, thirds, strict=True) if third is not None]
        for material, third in zip(alike, thirds, strict=True):
            begun += 1
            progress(f'rows of {material.name}, {begun} of {sum(map(len, systems.values()))}')
            for rows, labels, of_forces in _residuals(model, terms[types], material, recipe):
                if not of_forces:
                    # at rest: forces and stress that should not be there
                    here.hold(rows, labels)
                    continue
                here.add(rows, labels)
                total, given = total + of_forces, given + float(labels.square().sum())
            if third is not None:
                for rows, labels in known_changes(model, terms[types], material, third, recipe):
                    here.hold(THIRD_ORDER**0.5 * rows, THIRD_ORDER**0.5 * labels)
                for rows in distortions(expansion, terms[types], material, recipe, order=2):
                    here.hold(CURVATURE**0.5 * rows)
            elif weights['distortion']:
                for rows in distortions(expansion, terms[types], material, recipe, order=1):
                    here.hold(weights['distortion'] ** 0.5 * rows)
            if weights['far']:
                weight = (weights['far'] * (1 if third is None else FAR_KNOWN)) ** 0.5
                for rows, labels in far_forces(model, terms[types], material, recipe):
                    here.hold(weight * rows, weight * labels)
        progress(f'solving for {len(terms[types].columns)} coefficients')
        stiffness = float(np.mean([material.force_scale for material in alike])) / DISPLACEMENT
        elimination.add(here, prior_blocks(expansion, terms[types], weights, elimination.uses, stiffness))
    solution, draws = elimination.solve()
    # the last coefficients may be of no system at all
    missing = expansion.n_coefficients - len(solution)
    coefficients = nn.functional.pad(solution, (0, missing))
    expansion.set_coefficients(coefficients)
    model.to(dtype=dtype, device=device).train(training)
    left = given + sum(here.left(coefficients[here.columns]) for here in equations.values())
    return FittedExpansion(
        float(np.sqrt(max(left, 0.0) / total)) if total else 0.0,
        {types: nn.functional.pad(some, (0, missing)) for types, some in zip(systems, draws, strict=True)},
        tuple(known),
    )


def types_of(material: Material) -> tuple[int, ...]:
    """Columns of ``graph.atom_types`` that a material has atoms of."""
    return tuple(torch.nonzero(material.supercell.atom_types.sum(0))[:, 0].tolist())


def _third_order(model: DXModel, material: Material, recipe: Recipe) -> ThirdOrder | None:
    """What the forces of a material say of it, if they do."""
    graph, tensors = material.supercell, (material.displacements, material.forces)
    cell, positions, types = (x.detach().cpu().numpy() for x in (graph.cell[0], graph.positions, graph.atom_types))
    numbers = np.array(model.species)[types.argmax(axis=1)]
    displacements, forces = (x.detach().to('cpu', torch.float64).numpy() for x in tensors)
    atoms = PhonopyAtoms(numbers=numbers, cell=cell.astype(float), positions=positions.astype(float))
    return third_order(atoms, displacements, forces, recipe.seed)


def _check_size(sizes: Sequence[int]) -> None:
    """:raises ValueError: if the matrices of so many coefficients do not fit into memory."""
    if max(sizes) > MOST_SOLVED_FOR or sum(n * n for n in sizes) > MOST_ENTRIES:
        raise ValueError(
            f'expansion: got {max(sizes)} coefficients in one chemical system, {sum(sizes)} in all, wanted at most '
            f'{MOST_SOLVED_FOR} in one and {MOST_ENTRIES:,} entries of all matrices: learn from fewer chemical '
            'systems, take a coarser triplet_spacing, or leave it out (--no-expansion)'
        )


def _residuals(
    model: DXModel, terms: Terms, material: Material, recipe: Recipe
) -> Iterator[tuple[Tensor, Tensor, float]]:
    """Rows, what the rest of the model leaves for them, and the squared forces there: weighted as in the loss."""
    assert model.expansion is not None
    rng = np.random.default_rng(recipe.seed)
    kinds = [(k, w) for k, w in (('white', recipe.white), ('half', recipe.half), ('full', recipe.full)) if w > 0]
    shares = sum(w for _, w in kinds)
    emphasis = recipe.emphasis.get(material.name, 1.0)
    for cell in material.cells if recipe.folded else ():
        for kind, share in kinds:
            weight = emphasis * share / shares / len(material.cells) / DRAWS
            weight *= recipe.full_weight if kind == 'full' else 1.0
            for _ in range(DRAWS):
                u, force, factors = cell.draw(kind, rng)
                scale = torch.as_tensor(factors).reshape(-1) * (weight / u.size) ** 0.5
                rows, labels = _odd_forces(model, terms, cell.graph, u, force)
                yield scale[:, None] * rows, scale * labels, float((scale * _flat(force)).square().sum())
    for wave in material.between if recipe.folded else ():
        for kind in wave.kinds:
            weight = emphasis * BETWEEN[kind] / len(material.between) / DRAWS
            for _ in range(DRAWS):
                u, force, factors = wave.draw(kind, rng)
                along = torch.as_tensor(factors) * weight**0.5
                rows, labels = _odd_forces(model, terms, wave.graph, u, force)
                yield along @ rows, along @ labels, float((along @ _flat(force)).square().sum())
    n = len(material.forces)
    chosen = np.unique(np.linspace(0, n - 1, min(n, MOST_SUPERCELLS)).round().astype(int))
    for k in chosen:
        moved = material.supercell.with_positions(material.supercell.positions + material.displacements[k])
        rows, found = _forces(model, terms, moved.to(torch.float64, 'cpu'))
        labels = material.forces[k].to('cpu', torch.float64).reshape(-1)
        weight = (emphasis * SUPERCELLS / len(chosen) / len(labels) / float(labels.square().mean())) ** 0.5
        yield weight * rows, weight * (labels - found), emphasis * SUPERCELLS / len(chosen)
    at_rest = material.cells[0].graph.to(torch.float64, 'cpu')
    rows, found = _forces(model, terms, at_rest)
    weight = (emphasis / len(found)) ** 0.5 / material.force_scale
    yield weight * rows, -weight * found, 0.0
    virial = virial_rows(model.expansion, terms, at_rest)
    stress = energy_forces_stress(model, at_rest)[2][0].detach().reshape(-1)
    weight = (emphasis * recipe.stress_weight) ** 0.5
    yield weight * EV_PER_CUBIC_ANGSTROM_IN_GPA / float(at_rest.volumes()) * virial, -weight * stress, 0.0


def _odd_forces(
    model: DXModel, terms: Terms, graph: AtomGraph, u: np.ndarray, force: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Rows of one displacement in both directions, and what is left for them: what is odd in it is harmonic."""
    graph = graph.to(torch.float64, 'cpu')
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64)[:, None, None]
    rows, found = _forces(model, terms, graph.copies(graph.positions + signs * torch.as_tensor(u)))
    (one, other), (found_one, found_other) = rows.chunk(2), found.chunk(2)
    return (one - other) / 2, _flat(force) - (found_one - found_other) / 2


def _flat(force: np.ndarray) -> Tensor:
    return torch.as_tensor(force).reshape(-1)


def _forces(model: DXModel, terms: Terms, graph: AtomGraph) -> tuple[Tensor, Tensor]:
    """Rows of forces by coefficients, and the forces of the model without the expansion."""
    assert model.expansion is not None
    forces = energy_forces_stress(model, graph)[1].detach()
    return force_rows(model.expansion, terms, graph), forces.reshape(-1)
