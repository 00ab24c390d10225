"""The terms of the loss of one step, by name: forces or Hessian products, rest, stress, energy."""

from __future__ import annotations

import torch
from torch import Tensor

from aiida_mlfc.core.potentials.derivatives.energy_derivatives import energy_forces_stress
from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.training import losses
from aiida_mlfc.core.potentials.training.batches import Batch
from aiida_mlfc.core.potentials.training.recipe import Recipe

#: in the order of :func:`loss_terms`; the last one only where energies are learned and the batch holds one
TERMS = ('displaced', 'at_rest', 'stress', 'energy')


def loss_terms(model: EnergyModel, batch: Batch, recipe: Recipe) -> tuple[Tensor, ...]:
    """Mean over displaced systems of the mean squared residual, the same at rest, the stress penalty, the energy.

    In stage two, the first is a mean over the Hessian products, and over the real supercell if there is one.
    """
    plain = recipe.learned_weights
    graph = batch.graph
    if batch.vectors is None or batch.is_product is None:
        energy, predicted, stress = energy_forces_stress(model, graph, create_graph=True)
        weights = predicted.new_full((graph.n_systems,), 1.0 if plain else recipe.forces_weight)
    else:
        energy, predicted, stress = _with_products(model, batch)
        of_products, of_forces = (1.0, 1.0) if plain else (recipe.hessian_weight, recipe.forces_weight)
        weights = torch.where(batch.is_product, of_products, of_forces).to(predicted.dtype)
    by_system = _by_system(predicted, batch, recipe)
    n = batch.n_undisplaced
    at_rest = by_system[:n].mean() if n else by_system.new_zeros(())
    pressure = losses.stress(stress[:n], torch.zeros_like(stress[:n])) if n else at_rest
    terms = ((weights * by_system)[n:].mean(), at_rest, (1.0 if plain else recipe.stress_weight) * pressure)
    if batch.energy is None:
        return terms
    n_atoms = graph.sum_to_systems(torch.ones_like(predicted[:, 0]))[-1:]
    of_energy = losses.energy_per_atom(energy[-1:], batch.energy[None], n_atoms)
    return (*terms, (1.0 if plain else recipe.energy_weight) * of_energy)


def _with_products(model: EnergyModel, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """As :func:`energy_forces_stress`, with forces to first order in the vectors where products are compared: -H v."""
    graph: AtomGraph = batch.graph.with_positions(batch.graph.positions.detach().requires_grad_(True))
    energy, forces, stress = energy_forces_stress(model, graph, create_graph=True)
    (products,) = torch.autograd.grad(forces, graph.positions, grad_outputs=batch.vectors, create_graph=True)
    assert batch.is_product is not None
    return energy, torch.where(batch.is_product[graph.batch][:, None], products, forces), stress


def _by_system(predicted: Tensor, batch: Batch, recipe: Recipe) -> Tensor:
    """The loss of each system, without a unit, shape ``(n_systems,)``."""
    graph, factors = batch.graph, batch.factors
    residual = (predicted - batch.forces) * factors
    counts = graph.sum_to_systems(torch.ones_like(residual[:, 0]))
    squares = graph.sum_to_systems(residual.square().mean(dim=1)) / counts
    if batch.vectors is None or batch.is_product is None or recipe.stage_two_loss == 'frobenius':
        return squares
    if recipe.stage_two_loss == 'relative_frobenius':
        expected = graph.sum_to_systems((batch.forces * factors).square().mean(dim=1)) / counts
        # its root has no derivative where nothing is left to learn
        other = (squares / expected.where(batch.is_product, torch.ones_like(expected)) + losses.SOFT**2).sqrt()
    elif recipe.stage_two_loss == 'column':
        other = graph.sum_to_systems(residual.abs().mean(dim=1)) / counts
    else:
        # factors are the same for all coordinates: one over the typical frequency of the crystal
        found, wanted = (
            losses.signed_root(graph.sum_to_systems(-(batch.vectors * x).sum(dim=1))) for x in (predicted, batch.forces)
        )
        scale = graph.sum_to_systems(factors.mean(dim=1)) / counts
        other = ((found - wanted) * scale).square()
    return torch.where(batch.is_product, other, squares)
