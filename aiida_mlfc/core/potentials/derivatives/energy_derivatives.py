"""First and second derivatives of an energy model; they know no model.

``create_graph=True`` keeps the result differentiable, for losses on forces and for the next order.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.units import EV_PER_CUBIC_ANGSTROM_IN_GPA


def _differentiable(graph: AtomGraph) -> AtomGraph:
    if graph.positions.requires_grad:
        return graph
    return replace(graph, positions=graph.positions.detach().requires_grad_(True))


def energy_forces(model: EnergyModel, graph: AtomGraph, create_graph: bool = False) -> tuple[Tensor, Tensor]:
    """Energies ``(n_systems,)`` in eV and forces -dE/dx ``(n_atoms, 3)`` in eV/Å."""
    graph = _differentiable(graph)
    with torch.enable_grad():
        energy = model(graph)
        (gradient,) = torch.autograd.grad(energy.sum(), graph.positions, create_graph=create_graph)
    return (energy if create_graph else energy.detach()), -gradient


def energy_forces_stress(
    model: EnergyModel, graph: AtomGraph, create_graph: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Energies, forces, and stress (1/V) dE/dε ``(n_systems, 3, 3)`` in GPa, tensile positive (ASE's sign).

    The strain ε acts as ``x -> x (1 + ε)`` on positions and cell.
    """
    graph = _differentiable(graph)
    strain = torch.zeros_like(graph.cell, requires_grad=True)
    with torch.enable_grad():
        energy = model(graph.strained(strain))
        gradient, virial = torch.autograd.grad(energy.sum(), (graph.positions, strain), create_graph=create_graph)
    stress = virial / graph.volumes()[:, None, None] * EV_PER_CUBIC_ANGSTROM_IN_GPA
    # Rotational invariance makes the virial symmetric; averaging removes the rounding.
    stress = (stress + stress.mT) / 2
    return (energy if create_graph else energy.detach()), -gradient, stress


def hvp(model: EnergyModel, graph: AtomGraph, vectors: Tensor, create_graph: bool = False) -> Tensor:
    """Hessian-vector product Σ_jβ d²E/(dx_iα dx_jβ) v_jβ, exact, reverse over reverse.

    :param vectors: v, shape ``(n_atoms, 3)``; systems of a batch do not mix, so one product serves all of them.
    :return: shape ``(n_atoms, 3)``, eV/Å² times the unit of v.
    """
    graph = _differentiable(graph)
    with torch.enable_grad():
        energy = model(graph)
        (gradient,) = torch.autograd.grad(energy.sum(), graph.positions, create_graph=True)
        (product,) = torch.autograd.grad(gradient, graph.positions, grad_outputs=vectors, create_graph=create_graph)
    return product
