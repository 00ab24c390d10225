"""The dx model as a whole: its size, its constants, and the defects that its first variants keep."""

import numpy as np
import pytest
import torch

from aiida_mlfc.core.potentials.derivatives.energy_derivatives import energy_forces, hvp
from aiida_mlfc.core.potentials.derivatives.rows import directional_responses
from aiida_mlfc.core.potentials.dx.config import DXConfig, DXDefectWarning
from aiida_mlfc.core.potentials.dx.model import DXModel
from aiida_mlfc.core.potentials.dx.tensor_product import coupling_tensor
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph

from ...small_systems import SPECIES, small_crystals, small_dx

ALL_ELEMENTS = tuple(range(1, 87))


def defective(variant='v4', **changes):
    with pytest.warns(DXDefectWarning):
        return small_dx(variant, **changes)


def graph_of(atoms, cutoff=4.4):
    return build_graph(atoms, cutoff, SPECIES)


@pytest.mark.parametrize(('changes', 'expected'), [
    ({'channels': 48, 'n_layers': 2, 'n_heads': 4}, 264_937),
    ({'channels': 64, 'n_layers': 3, 'n_heads': 4}, 606_317),
    ({'channels': 96, 'n_layers': 3, 'n_heads': 8}, 1_211_481),
    ({'channels': 32, 'n_layers': 3, 'n_heads': 4, 'species': (14,)}, 211_293),
])
def test_number_of_parameters(changes, expected):
    model = DXModel(DXConfig(**{'species': ALL_ELEMENTS, 'n_radial': 10, 'nonlinear': True, **changes}))
    assert sum(p.numel() for p in model.parameters()) == expected


def test_constants_are_remade_not_rounded():
    """float32 weights evaluated in float64, the ordinary way of use, must not carry float32 constants."""
    direct, detour = small_dx(), small_dx()
    detour.load_state_dict({k: v.float() for k, v in direct.state_dict().items()})
    direct.load_state_dict(detour.state_dict())
    graph = graph_of(small_crystals()['rocksalt-rattled'])
    assert torch.equal(detour.float().double()(graph), direct(graph))
    assert torch.equal(detour.coupling, coupling_tensor())


@pytest.mark.parametrize('changes', [{}, {'attention': 'none'}, {'attention': 'sigmoid'}], ids=str)
def test_edges_beyond_the_cutoff_change_nothing(changes):
    """Training builds graphs with a skin; the skin must be invisible."""
    model, atoms = small_dx(**changes), small_crystals()['rocksalt-rattled']
    tight, wide = graph_of(atoms), graph_of(atoms, 5.5)
    assert wide.n_edges > tight.n_edges
    vectors = torch.ones_like(tight.positions) * torch.tensor([[1.0, -0.5, 0.2]], dtype=torch.float64)
    vectors[0] = 0
    assert (model(tight) - model(wide)).abs().item() < 1e-12
    assert (hvp(model, tight, vectors) - hvp(model, wide, vectors)).abs().max() < 1e-12


def test_scale_and_reference_energies():
    model, graph = small_dx(), graph_of(small_crystals()['rocksalt'])
    before = model(graph).item()
    model.reference_energies += torch.tensor([1.0, 10.0, 100.0, 1000.0], dtype=torch.float64)
    assert abs(model(graph).item() - before - 1001.0) < 1e-10
    unit = small_dx(energy_scale=1.0)
    assert abs(unit(graph).item() * 5.0 - before) < 1e-10


def test_reference_energies_are_stored():
    model = small_dx()
    model.reference_energies += 2.5
    other = small_dx()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.reference_energies, model.reference_energies)
    assert 'coupling' not in model.state_dict()


def test_recomputed_blocks_give_the_same_numbers():
    """v3 is v1: energies, forces and Hessian-vector products, and gradients of a loss on each."""
    first, third = defective('v1'), defective('v3')
    graph = graph_of(small_crystals()['diamond-rattled'])
    vectors = torch.randn(graph.n_atoms, 3, dtype=torch.float64, generator=torch.manual_seed(0))
    results = []
    for model in (first, third):
        energy, forces = energy_forces(model, graph, create_graph=True)
        product = hvp(model, graph, vectors, create_graph=True)
        loss = forces.square().sum() + product.square().sum()
        gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
        results.append([energy, forces, product, *(g for g in gradients if g is not None)])
    assert third.config.checkpoint_blocks
    assert not first.config.checkpoint_blocks
    assert len(results[0]) == len(results[1]) > 10
    for one, three in zip(*results, strict=True):
        torch.testing.assert_close(one, three, rtol=1e-12, atol=1e-14)


def jump(model, atoms):
    """Differences of energy and forces when a shell crosses the cutoff, 4e-10 Å to each side."""
    seen = []
    for scale in (1 - 1e-10, 1 + 1e-10):
        scaled = atoms.copy()
        # the second shell of diamond, a/√2, on the cutoff
        scaled.set_cell(np.array(atoms.cell) * scale * 4.4 / (5.43 / np.sqrt(2)), scale_atoms=True)
        graph = graph_of(scaled)
        seen.append((graph.n_edges, *energy_forces(model, graph)))
    assert seen[0][0] > seen[1][0]
    return (seen[0][1] - seen[1][1]).abs().max().item()


def test_plain_softmax_jumps_at_the_cutoff():
    atoms = small_crystals()['diamond']
    assert jump(defective(attention='softmax'), atoms) > 1e-4
    assert jump(small_dx(), atoms) < 1e-8


def largest_force_constant(model, atoms):
    return np.abs(directional_responses(model, graph_of(atoms), np.array([0]), np.array([[1.0, 0, 0]]))[0]).max()


def test_norm_per_degree_makes_the_hessian_of_a_perfect_crystal_explode():
    perfect = small_crystals()['diamond']
    rattled = perfect.copy()
    rattled.rattle(0.01, seed=0)
    broken, sound = defective(norm='per_degree'), small_dx()
    assert largest_force_constant(broken, perfect) > 1e3 * largest_force_constant(sound, perfect)
    assert largest_force_constant(broken, rattled) < 0.1 * largest_force_constant(broken, perfect)
    assert np.isclose(largest_force_constant(sound, rattled), largest_force_constant(sound, perfect), rtol=0.1)


def test_every_parameter_of_the_default_model_is_used():
    model, graph = small_dx(), graph_of(small_crystals()['rocksalt-rattled'])
    gradients = torch.autograd.grad(model(graph).sum(), list(model.parameters()), allow_unused=True)
    idle = [name for (name, _), g in zip(model.named_parameters(), gradients, strict=True) if g is None or not g.any()]
    assert idle == []
