"""M3GNet as an EnergyModel: one gather a block, smooth to second order, linear in soft types, any dtype."""

import dataclasses

import numpy as np
import pytest
import torch
from ase.build import bulk

from aiida_mlfc.core.potentials.derivatives.energy_derivatives import energy_forces, hvp
from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph

from .reference_values import MODELS, crystal, model_of


@pytest.fixture
def model():
    return model_of('tiny-random')


@pytest.mark.parametrize('name', MODELS)
def test_attributes(name):
    model = model_of(name)
    blocks, units = {'tiny-random': (2, 16), 'toy-si-1M': (3, 128)}[name]
    assert (model.config.num_blocks, model.config.units) == (blocks, units)
    assert model.cutoff == 5.0
    assert model.n_message_layers == blocks
    assert model.interaction_range == 5.0 * blocks
    assert model.species == tuple(range(95))
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())


def test_one_gather_of_positions_and_one_a_block(model, monkeypatch):
    seen = []
    original = AtomGraph.neighbours
    monkeypatch.setattr(AtomGraph, 'neighbours', lambda self, x: seen.append(tuple(x.shape)) or original(self, x))
    model(build_graph(crystal('si_rattled_8'), 5.0, model.species))
    assert seen[0] == (8, 3)
    assert len(seen) == 1 + model.n_message_layers


@pytest.mark.parametrize('radius', [5.0, 4.0], ids=['edge', 'triplet'])
def test_nothing_jumps_when_an_edge_or_a_triplet_enters(model, radius):
    """Energy, forces and Hessian just inside and just outside, for neighbours far and near."""
    atoms = bulk('Al', 'fcc', a=radius, cubic=True)
    atoms.positions[1] += [0.05, 0.0, 0.0]
    vectors = torch.randn(4, 3, dtype=torch.float64, generator=torch.manual_seed(0))
    seen = []
    for factor in (1 - 1e-9, 1 + 1e-9):
        scaled = atoms.copy()
        scaled.set_cell(np.array(atoms.cell) * factor, scale_atoms=True)
        graph = build_graph(scaled, 5.0, model.species)
        energy, forces = energy_forces(model, graph)
        near = int((graph.edge_vectors().norm(dim=1) < radius).sum())
        seen.append((near, energy, forces, hvp(model, graph, vectors)))
    inside, outside = seen
    assert inside[0] > outside[0]
    for a, b in zip(inside[1:], outside[1:], strict=True):
        assert (a - b).abs().max() < 1e-6


def test_edges_beyond_the_cutoff_do_nothing(model):
    """A list with a skin gives the same energy, forces and products, to the last digits."""
    atoms = crystal('triclinic_6')
    vectors = torch.randn(6, 3, dtype=torch.float64, generator=torch.manual_seed(1))
    exact, wide = (build_graph(atoms, radius, model.species) for radius in (5.0, 6.5))
    assert wide.n_edges > 2 * exact.n_edges
    torch.testing.assert_close(model(wide), model(exact), rtol=0, atol=1e-12)
    torch.testing.assert_close(energy_forces(model, wide)[1], energy_forces(model, exact)[1], rtol=0, atol=1e-12)
    torch.testing.assert_close(hvp(model, wide, vectors), hvp(model, exact, vectors), rtol=0, atol=1e-11)


def test_order_of_edges_does_not_matter(model):
    graph = build_graph(crystal('triclinic_6'), 5.0, model.species)
    order = torch.randperm(graph.n_edges, generator=torch.manual_seed(2))
    shuffled = dataclasses.replace(
        graph, edge_index=graph.edge_index[:, order], edge_cell_shifts=graph.edge_cell_shifts[order]
    )
    torch.testing.assert_close(model(shuffled), model(graph), rtol=0, atol=1e-12)


def test_types_select_embedding_and_normaliser_rows(model):
    """Z = 1 and Z = 94 catch an index that is off by one."""
    graph = build_graph(crystal('triclinic_6'), 5.0, model.species)
    assert graph.atom_types.argmax(1).tolist() == [1, 8, 8, 22, 56, 94]
    types = graph.atom_types.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(model(dataclasses.replace(graph, atom_types=types)).sum(), types)
    bare = model.atomic_energies(graph, torch.zeros_like(graph.atom_types))
    assert bare.abs().max() == 0
    # The normaliser's part of the derivative is its row of shifts and scales.
    energies = (model.atomic_energies(graph) - model.normalizer.shift[[1, 8, 8, 22, 56, 94]])
    energies = energies / model.normalizer.scale[[1, 8, 8, 22, 56, 94]]
    expected = energies[:, None] * model.normalizer.scale + model.normalizer.shift
    fixed = types.detach()
    (embedding_part,) = torch.autograd.grad(
        model.atomic_energies(dataclasses.replace(graph, atom_types=types), fixed).sum(), types
    )
    torch.testing.assert_close(gradient - embedding_part, expected, rtol=0, atol=1e-10)


def test_the_same_numbers_in_float32(model):
    """Weights are stored in float32: the way there and back changes nothing."""
    single = model_of('tiny-random', torch.float32)
    for name, value in model.state_dict().items():
        assert torch.equal(single.state_dict()[name].double(), value), name
    graph = build_graph(crystal('mgo_rattled_8'), 5.0, model.species)
    energy, forces = energy_forces(single, graph.to(torch.float32))
    assert (energy.dtype, forces.dtype) == (torch.float32, torch.float32)
    assert (energy - model(graph)).abs().item() < 1e-5
    assert (forces - energy_forces(model, graph)[1]).abs().max() < 1e-5
