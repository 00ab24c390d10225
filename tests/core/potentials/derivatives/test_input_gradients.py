"""Gradients with respect to positions, lattice and types, against differences and against the strain derivative."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms

from aiida_mlfc.core.potentials.derivatives.energy_derivatives import energy_forces_stress
from aiida_mlfc.core.potentials.derivatives.input_gradients import input_gradients
from aiida_mlfc.core.potentials.graphs.batching import concatenate
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.registry import load_potential

from ...small_systems import EmbeddedAtoms, small_crystals, small_dx
from ..mattersim.reference_values import TINY

MODELS = {'embedded-atoms': EmbeddedAtoms, 'dx': small_dx, 'mattersim': lambda: load_potential(TINY)}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]().eval()


def graph_of(model, name='rocksalt-rattled'):
    atoms = small_crystals()[name]
    # other images than those in the cell: nothing may depend on wrapped positions
    atoms.positions[0] += np.array([1, -2, 1]) @ np.array(atoms.cell)
    return build_graph(atoms, model.cutoff, model.species)


@pytest.mark.parametrize('name', ['positions', 'cell', 'atom_types'])
def test_differences(model, name):
    """Along random directions, edges kept, error of order step⁴ where no distance passes a cutoff: steps are small."""
    graph = graph_of(model)
    found = input_gradients(model, graph)
    exact = {'positions': found.positions, 'cell': found.lattice, 'atom_types': found.atom_types}[name]
    value = getattr(graph, name)
    assert exact.shape == value.shape
    assert exact.abs().max() > 1e-3
    for seed in range(3):
        direction = torch.randn(value.shape, dtype=torch.float64, generator=torch.manual_seed(seed))

        def difference(step, direction=direction):
            energies = [
                model(replace(graph, **{name: value + sign * step * direction})).item() for sign in (1, -1)
            ]
            return (energies[0] - energies[1]) / (2 * step)

        expected = (4 * difference(1e-4) - difference(2e-4)) / 3
        assert abs((exact * direction).sum().item() - expected) < 1e-7 * max(1, abs(expected))


def test_energy_forces_and_stress_are_those_of_the_strain_derivative(model):
    graph = graph_of(model)
    found = input_gradients(model, graph)
    energy, forces, stress = energy_forces_stress(model, graph)
    torch.testing.assert_close(found.energy, energy, rtol=0, atol=1e-10)
    torch.testing.assert_close(-found.positions, forces, rtol=0, atol=1e-10)
    torch.testing.assert_close(found.stress(), stress, rtol=1e-9, atol=1e-9)
    assert stress.abs().max() > 1e-2


def test_gradient_at_fixed_fractional_positions(model):
    """As the docstring of ``InputGradients`` says."""
    graph = graph_of(model)
    found = input_gradients(model, graph)
    fractional = graph.positions @ torch.linalg.inv(graph.cell[0])
    cell = graph.cell.clone().requires_grad_(True)
    energy = model(replace(graph, positions=fractional @ cell[0], cell=cell)).sum()
    (expected,) = torch.autograd.grad(energy, cell)
    torch.testing.assert_close(found.lattice[0] + fractional.T @ found.positions, expected[0], rtol=1e-9, atol=1e-9)


def test_batch_equals_single(model):
    graphs = [graph_of(model, name) for name in ('rocksalt-rattled', 'fcc', 'diamond-rattled')]
    together = input_gradients(model, concatenate(graphs))
    stress = together.stress()
    for k, graph in enumerate(graphs):
        single = input_gradients(model, graph)
        mine = together.graph.batch == k
        torch.testing.assert_close(together.energy[k], single.energy[0], rtol=0, atol=1e-10)
        torch.testing.assert_close(together.positions[mine], single.positions, rtol=0, atol=1e-10)
        torch.testing.assert_close(together.lattice[k], single.lattice[0], rtol=0, atol=1e-10)
        torch.testing.assert_close(together.atom_types[mine], single.atom_types, rtol=0, atol=1e-10)
        torch.testing.assert_close(stress[k], single.stress()[0], rtol=1e-9, atol=1e-9)


def test_alone(model):
    """No neighbours: the types still matter, positions and lattice do not."""
    atoms = Atoms('Al', positions=[[0.1, 0.2, 0.3]], cell=np.eye(3) * 9.0, pbc=True)
    found = input_gradients(model, build_graph(atoms, model.cutoff, model.species))
    assert found.positions.abs().max() == found.lattice.abs().max() == found.stress().abs().max() == 0
    assert found.atom_types.isfinite().all()


def test_nothing_is_left_behind(model):
    graph = graph_of(model)
    with torch.no_grad():
        found = input_gradients(model, graph)
    tensors = (found.energy, found.positions, found.lattice, found.atom_types, found.stress(), graph.positions)
    assert not any(t.requires_grad for t in tensors)
    assert all(p.grad is None for p in model.parameters())
