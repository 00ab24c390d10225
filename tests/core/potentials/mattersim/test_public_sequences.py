"""What users of the public DifferentiableMatterSimCalculator do with it, call by call, in float32 as they do it.

The sequences are those of its authors' tests and examples (github.com/AkiraTOSEI/differentiable-mattersim), in our
words, with tighter assertions: where they ask for a gradient to be there, here it is the right one.
"""

import inspect
from functools import partial

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.io import read, write
from torch.nn.functional import one_hot, softmax

from aiida_mlfc.core.potentials.mattersim.calculator import (
    DifferentiableGraphBuilder,
    DifferentiableMatterSimCalculator,
    batch_index_to_sizes,
    cart_to_frac,
    compute_distance_pbc,
    frac_to_cart,
    lattice_params_to_matrix,
    sizes_to_batch_index,
    wrap_to_unit_cell,
)

from .reference_values import TOY

#: names and defaults of the public methods, as their documentation gives them; ours may have more arguments behind
FORWARD = {
    'atom_types': None, 'positions': None, 'lattice': None, 'include_forces': False, 'include_stresses': False,
    'return_forces': None, 'return_stress': None, 'create_graph_forces': False, 'create_graph_stress': False,
    'soft_normalize': False,
}  # fmt: skip
PREDICT = {
    'return_energy': True, 'return_forces': False, 'return_stress': False, 'create_graph_forces': False,
    'create_graph_stress': False, 'soft_normalize': True,
}  # fmt: skip
REQUIRED = inspect.Parameter.empty
SIGNATURES = {
    '__init__': {'potential': None, 'device': 'cpu', 'twobody_cutoff': 5.0, 'threebody_cutoff': 4.0},
    'forward': {'atoms': REQUIRED, **FORWARD},
    'forward_batch': {
        'atoms_list': REQUIRED, 'atom_types': None, 'positions': None, 'lattice': None, 'batch_index': None,
        'sizes': None, **{k: v for k, v in FORWARD.items() if k not in ('atom_types', 'positions', 'lattice')},
        'soft_normalize': True,
    },
    'predict_from_tensors': {'atom_types': REQUIRED, 'lattice': REQUIRED, 'positions': REQUIRED, **PREDICT},
    'predict_from_batch_tensors': {
        'batch_atom_types': REQUIRED, 'lattice': REQUIRED, 'positions': REQUIRED, 'batch_index': None, 'sizes': None,
        **PREDICT,
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def _default_checkpoint(monkeypatch):
    """Users call the calculator without a potential."""
    monkeypatch.setenv('MLFC_MATTERSIM_CHECKPOINT', str(TOY))


@pytest.fixture
def crystals():
    """Perfect crystals of two and of one atom."""
    return [bulk('Si', 'diamond', a=5.43), bulk('Fe', 'fcc', a=3.6)]


def leaves(structures, soft=False):
    """Atom types, positions and lattice in float32, as leaves; lattice ``(3, 3)`` for one structure."""
    numbers = torch.cat([torch.tensor(a.get_atomic_numbers(), dtype=torch.long) for a in structures])
    types = one_hot(numbers, num_classes=95).float()
    if soft:
        types = softmax(types + 0.01 * torch.randn(types.shape, generator=torch.manual_seed(0)), dim=1)
    positions = torch.cat([torch.tensor(a.get_positions(), dtype=torch.float32) for a in structures])
    lattice = torch.stack([torch.tensor(a.cell.array, dtype=torch.float32) for a in structures])
    lattice = lattice if len(structures) > 1 else lattice[0]
    return [t.detach().requires_grad_(True) for t in (types, positions, lattice)]


@pytest.mark.parametrize('name', SIGNATURES)
def test_signatures(name):
    parameters = list(inspect.signature(getattr(DifferentiableMatterSimCalculator, name)).parameters.values())[1:]
    expected = SIGNATURES[name]
    assert {p.name: p.default for p in parameters[: len(expected)]} == expected
    assert [p.name for p in parameters[: len(expected)]] == list(expected)
    assert all(p.default is not REQUIRED for p in parameters[len(expected) :])


def test_sizes_and_batch_index():
    sizes = torch.tensor([5, 3, 7, 2])
    assert torch.equal(batch_index_to_sizes(sizes_to_batch_index(sizes)), sizes)
    index = sizes_to_batch_index(torch.tensor([2, 3, 1]), device='cpu')
    assert torch.equal(index, torch.tensor([0, 0, 1, 1, 1, 2]))
    assert index.dtype == batch_index_to_sizes(index).dtype == torch.int64


def test_perfect_crystals(crystals):
    """Energy, forces and stress of both doors; the numbers of ASE's door in its units."""
    calculator, ase_door = DifferentiableMatterSimCalculator(device='cpu'), DifferentiableMatterSimCalculator()
    for atoms in crystals:
        result = calculator.forward(atoms, return_forces=True, return_stress=True)
        assert result['total_energy'].dtype == torch.float32
        assert result['forces'].shape == (len(atoms), 3)
        assert result['stresses'].detach().cpu().numpy()[0].shape == (3, 3)
        atoms.calc = ase_door
        assert abs(result['total_energy'].item() - atoms.get_potential_energy()) < 1e-4
        assert np.abs(result['forces'].detach().numpy() - atoms.get_forces()).max() < 1e-4
        from ase.units import GPa

        assert np.abs(result['stresses'][0].numpy() - atoms.get_stress(voigt=False) / GPa).max() < 1e-4


def test_include_and_return(crystals):
    calculator = DifferentiableMatterSimCalculator()
    call = partial(calculator.forward, crystals[0])
    assert set(call(include_forces=False, include_stresses=False)) == {'total_energy'}
    assert set(call(include_forces=True, include_stresses=True)) == {'total_energy', 'forces', 'stresses'}
    assert set(call(include_forces=True, return_forces=False)) == {'total_energy'}
    assert set(call(return_forces=False, return_stress=True)) == {'total_energy', 'stresses'}


@pytest.mark.parametrize('what', ['positions', 'lattice', 'atom_types'])
def test_gradient_of_one_input(crystals, what):
    """Each input alone: the gradient is that of the energy in float64, and not only there."""
    names = ('atom_types', 'positions', 'lattice')
    atoms = crystals[0]
    atoms.rattle(0.05, seed=0)
    tensor = leaves([atoms])[names.index(what)]
    calculator = DifferentiableMatterSimCalculator()
    calculator.forward(atoms, include_forces=False, **{what: tensor})['total_energy'].backward()
    exact = tensor.detach().double().requires_grad_(True)
    calculator.forward(atoms, **{what: exact})['total_energy'].backward()
    assert tensor.grad.dtype == torch.float32
    assert torch.norm(tensor.grad) > 0
    torch.testing.assert_close(tensor.grad.double(), exact.grad, rtol=1e-4, atol=1e-4)


def test_batch_is_one_by_one(crystals):
    calculator = DifferentiableMatterSimCalculator()
    crystals.append(bulk('Al', 'fcc', a=4.05))
    single = torch.tensor([calculator.forward(a)['total_energy'].item() for a in crystals])
    sizes = torch.tensor([len(a) for a in crystals])
    for arguments in ({}, {'sizes': sizes}, {'batch_index': sizes_to_batch_index(sizes)}):
        batch = calculator.forward_batch(crystals, include_forces=False, soft_normalize=False, **arguments)
        assert batch['total_energy'].shape == (3,)
        assert torch.allclose(batch['total_energy'], single, atol=1e-4)


@pytest.mark.parametrize('soft', [False, True])
def test_gradients_of_all_inputs_of_a_batch(crystals, soft):
    """Perfect crystals too: what is zero by symmetry is so up to rounding."""
    calculator, inputs = DifferentiableMatterSimCalculator(), leaves(crystals, soft)
    types, positions, lattice = inputs
    sizes = torch.tensor([len(a) for a in crystals])
    result = calculator.forward_batch(
        crystals, atom_types=types, positions=positions, lattice=lattice, sizes=sizes, include_forces=False,
        soft_normalize=True,
    )
    result['total_energy'].sum().backward()
    for tensor in inputs:
        assert tensor.grad.shape == tensor.shape
        assert tensor.grad.isfinite().all()
    assert torch.norm(types.grad) > 0
    assert torch.norm(lattice.grad) > 0


@pytest.mark.parametrize(('quantity', 'flags'), [
    ('forces', {'return_forces': True, 'return_stress': False, 'create_graph_forces': True}),
    ('stresses', {'return_forces': False, 'return_stress': True, 'create_graph_stress': True}),
    ('both', {'return_forces': True, 'return_stress': True, 'create_graph_forces': True, 'create_graph_stress': True}),
])  # fmt: skip
@pytest.mark.parametrize('door', ['single', 'batch'])
def test_losses_on_forces_and_stress(crystals, quantity, flags, door):
    crystals = crystals[:1] if door == 'single' else crystals
    calculator, inputs = DifferentiableMatterSimCalculator(), leaves(crystals)
    types, positions, lattice = inputs
    if door == 'single':
        result = calculator.forward(crystals[0], types, positions, lattice, soft_normalize=True, **flags)
    else:
        result = calculator.predict_from_batch_tensors(
            batch_atom_types=types, lattice=lattice, positions=positions,
            batch_index=sizes_to_batch_index(torch.tensor([2, 1])), soft_normalize=True, **flags,
        )
    chosen = ('forces', 'stresses') if quantity == 'both' else (quantity,)
    sum(result[name].pow(2).mean() for name in chosen).backward()
    assert all(tensor.grad is not None and tensor.grad.isfinite().all() for tensor in inputs)


def test_tensors_without_structures(crystals):
    calculator = DifferentiableMatterSimCalculator()
    types, positions, lattice = leaves(crystals[:1])
    flags = {'return_forces': True, 'return_stress': True}
    ours = calculator.predict_from_tensors(types, lattice, positions, **flags)
    theirs = calculator.forward(crystals[0], types, positions, lattice, soft_normalize=True, **flags)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name])
    assert 'total_energy' not in calculator.predict_from_tensors(types, lattice, positions, return_energy=False)
    with pytest.raises(ValueError, match='sizes'):
        calculator.predict_from_batch_tensors(types, lattice[None], positions)


def test_an_optimisation_with_structures_made_anew_and_written(tmp_path, crystals):
    """Softmax types, positions and lattices by SGD, topology from new Atoms each step; then through a file."""
    calculator = DifferentiableMatterSimCalculator()
    types, positions, lattice = leaves(crystals)
    logits = torch.nn.Parameter(types.detach() + 0.01 * torch.randn(types.shape, generator=torch.manual_seed(1)))
    optimiser = torch.optim.SGD([logits, positions, lattice], lr=1e-3)
    sizes = [len(a) for a in crystals]

    def structures():
        numbers = torch.argmax(softmax(logits, dim=1), dim=1).numpy()
        made = [a.copy() for a in crystals]
        split = zip(
            made, np.split(numbers, [sizes[0]]), positions.detach().split(sizes), lattice.detach(), strict=True
        )
        for atoms, own, own_positions, cell in split:
            atoms.set_atomic_numbers(own)
            atoms.set_positions(own_positions.numpy())
            atoms.set_cell(cell.numpy())
        return made

    losses = []
    for _ in range(5):
        optimiser.zero_grad()
        result = calculator.forward_batch(
            structures(), atom_types=softmax(logits, dim=1), positions=positions, lattice=lattice,
            batch_index=sizes_to_batch_index(torch.tensor(sizes)), return_forces=False, return_stress=False,
            soft_normalize=True,
        )
        losses.append(result['total_energy'].sum())
        losses[-1].backward()
        optimiser.step()
    assert losses[-1] < losses[0]
    final = structures()
    write(tmp_path / 'final.extxyz', final)
    again = read(tmp_path / 'final.extxyz', index=':')
    for before, after in zip(final, again, strict=True):
        before.calc = after.calc = calculator
        assert abs(before.get_potential_energy() - after.get_potential_energy()) < 1e-6
        assert np.abs(before.get_forces() - after.get_forces()).max() < 1e-6
        assert np.abs(before.get_stress(voigt=False) - after.get_stress(voigt=False)).max() < 1e-6


def test_geometry_in_float32_with_gradients():
    params = torch.tensor([3.8, 4.1, 5.2, 80.0, 95.0, 110.0], requires_grad=True)
    lattice = lattice_params_to_matrix(params)
    assert lattice.shape == (3, 3)
    assert lattice.dtype == torch.float32
    assert lattice_params_to_matrix(params.detach().expand(2, 4, 6)).shape == (2, 4, 3, 3)
    lengths = lattice.norm(dim=1)
    torch.testing.assert_close(lengths.detach(), params.detach()[:3])
    cosine = (lattice[0] @ lattice[1]) / (lengths[0] * lengths[1])
    torch.testing.assert_close(torch.rad2deg(torch.acos(cosine)).item(), 110.0, rtol=1e-5, atol=0)
    frac = torch.tensor([[0.1, 0.2, 0.3], [0.9, 0.5, 0.7]], requires_grad=True)
    cart = frac_to_cart(frac, lattice)
    torch.testing.assert_close(cart_to_frac(cart, lattice), frac)
    offset = torch.tensor([[1, 0, 0], [0, -1, 0]])
    distance = compute_distance_pbc(cart, cart.flip(0), lattice, offset)
    assert distance.shape == (2,)
    distance.sum().backward()
    assert params.grad.isfinite().all()
    assert params.grad.abs().min() > 0
    assert frac.grad.abs().max() > 0
    torch.testing.assert_close(wrap_to_unit_cell(frac + 3), frac, rtol=0, atol=1e-6)


def test_graph_builder_in_float32(crystals):
    """One structure without a batch index and without the number of atoms; many with a batch index."""
    _, positions, lattice = leaves(crystals[:1])
    graph = DifferentiableGraphBuilder(initial_atoms=crystals[0], device='cpu').forward(positions, lattice)
    assert set(graph) == {
        'edge_index', 'edge_vector', 'edge_length', 'pbc_offsets', 'three_body_indices', 'num_three_body',
        'num_triple_ij', 'num_bonds',
    }  # fmt: skip
    assert graph['edge_vector'].dtype == graph['edge_length'].dtype == torch.float32
    assert graph['edge_index'].shape == (2, graph['num_bonds']) == (2, 56)
    assert graph['three_body_indices'].shape == (graph['num_three_body'], 2)
    graph['edge_length'].sum().backward()
    assert lattice.grad.abs().max() > 0
    _, positions, lattice = leaves(crystals)
    many = DifferentiableGraphBuilder(initial_atoms=crystals).forward(
        atom_pos=positions, cell=lattice, batch_index=sizes_to_batch_index(torch.tensor([2, 1]))
    )
    torch.testing.assert_close(many['edge_length'][:56], graph['edge_length'])
