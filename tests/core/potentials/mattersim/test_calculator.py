"""DifferentiableMatterSimCalculator: shapes, dtypes, what is differentiable, batches, soft types, bad input."""

import copy
import pickle
from shutil import copyfile

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from torch.nn.functional import one_hot

from aiida_mlfc.core.potentials.mattersim import energy_gradients
from aiida_mlfc.core.potentials.mattersim.calculator import DifferentiableMatterSimCalculator
from aiida_mlfc.core.potentials.mattersim.weights import load_mattersim

from .reference_values import TINY, crystal, model_of

EVERYTHING = {'return_forces': True, 'return_stress': True}
NAMES = ('si_rattled_8', 'fe_fcc_1', 'triclinic_6')


@pytest.fixture(scope='module')
def shared():
    return DifferentiableMatterSimCalculator(TINY)


@pytest.fixture
def calculator(shared):
    shared.reset_topology()
    return shared


def tensors_of(structures, dtype=torch.float64):
    """Atom types, lattices, positions and sizes, concatenated."""
    types = one_hot(torch.tensor(np.concatenate([a.numbers for a in structures])), 95).to(dtype)
    lattice = torch.tensor(np.stack([a.cell.array for a in structures]), dtype=dtype)
    positions = torch.tensor(np.concatenate([a.positions for a in structures]), dtype=dtype)
    return types, lattice, positions, torch.tensor([len(a) for a in structures])


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_shapes_and_dtypes(calculator, dtype):
    structures = [crystal(name) for name in NAMES]
    types, lattice, positions, sizes = tensors_of(structures, dtype)
    single = calculator.predict_from_tensors(types[:8], lattice[0], positions[:8], **EVERYTHING)
    batch = calculator.predict_from_batch_tensors(types, lattice, positions, sizes=sizes, **EVERYTHING)
    assert {k: tuple(v.shape) for k, v in single.items()} == {
        'total_energy': (), 'forces': (8, 3), 'stresses': (1, 3, 3)}
    assert {k: tuple(v.shape) for k, v in batch.items()} == {
        'total_energy': (3,), 'forces': (15, 3), 'stresses': (3, 3, 3)}
    assert {v.dtype for v in (*single.values(), *batch.values())} == {dtype}
    assert not any(v.requires_grad for v in (*single.values(), *batch.values()))


def test_dtype_without_tensors(calculator):
    assert calculator.forward(bulk('Si'))['total_energy'].dtype == torch.get_default_dtype()
    double = DifferentiableMatterSimCalculator(calculator.potential, dtype=torch.float64)
    assert double.forward(bulk('Si'))['total_energy'].dtype == torch.float64
    mixed = calculator.forward(bulk('Si'), positions=torch.tensor(bulk('Si').positions, dtype=torch.float64))
    assert mixed['total_energy'].dtype == torch.float64


def test_four_doors_and_one_answer(calculator):
    structures = [crystal(name) for name in NAMES]
    types, lattice, positions, sizes = tensors_of(structures)
    index = torch.tensor([0] * 8 + [1] + [2] * 6)
    fractional = torch.cat([torch.tensor(a.get_scaled_positions(wrap=False)) for a in structures])
    batches = [
        calculator.forward_batch(structures, positions=positions, **EVERYTHING),
        calculator.forward_batch(structures, types, positions, lattice, batch_index=index, **EVERYTHING),
        calculator.forward_batch(structures, types, positions, lattice, sizes=sizes, include_forces=True,
                                 include_stresses=True, soft_normalize=False),
        calculator.predict_from_batch_tensors(types, lattice, positions, index, **EVERYTHING),
        calculator.predict_from_batch_tensors(types, lattice, positions, index, sizes, **EVERYTHING),
        calculator.predict_from_batch_tensors(types, lattice, fractional, sizes=sizes.tolist(), **EVERYTHING,
                                              positions_are_fractional=True),
    ]
    for other in batches[1:]:
        for key, value in batches[0].items():
            torch.testing.assert_close(other[key], value, rtol=0, atol=1e-10)
    starts = [0, 8, 9, 15]
    for k, atoms in enumerate(structures):
        mine = slice(starts[k], starts[k + 1])
        singles = [
            calculator.forward(atoms, positions=positions[mine], **EVERYTHING),
            calculator.predict_from_tensors(types[mine], lattice[k], positions[mine], **EVERYTHING),
            calculator.predict_from_tensors(types[mine], lattice[k : k + 1], fractional[mine], **EVERYTHING,
                                            positions_are_fractional=True),
        ]
        for single in singles:
            torch.testing.assert_close(single['total_energy'], batches[0]['total_energy'][k], rtol=0, atol=1e-10)
            torch.testing.assert_close(single['forces'], batches[0]['forces'][mine], rtol=0, atol=1e-10)
            torch.testing.assert_close(single['stresses'][0], batches[0]['stresses'][k], rtol=0, atol=1e-10)


@pytest.mark.parametrize('limit', [1, 200, 300])
def test_slices_of_a_batch(calculator, monkeypatch, limit):
    """A batch that is computed in pieces is the batch, whatever is asked for."""
    structures = [crystal(name) for name in NAMES]
    types, lattice, positions, sizes = tensors_of(structures)
    types = 0.9 * types + 0.1 / 95
    calls, original = [], energy_gradients.energy_gradients
    monkeypatch.setattr(energy_gradients, 'energy_gradients', lambda *a: calls.append(a[1].n_systems) or original(*a))
    for flags in ({}, EVERYTHING, {'return_forces': True}, {'return_stress': True}):
        for soft in (True, False):
            arguments = {'sizes': sizes, 'soft_normalize': soft, **flags}
            whole = calculator.predict_from_batch_tensors(types, lattice, positions, **arguments)
            assert calls.pop() == 3
            with monkeypatch.context() as changed:
                changed.setattr(energy_gradients, 'EDGES_AT_ONCE', limit)
                pieces = calculator.predict_from_batch_tensors(types, lattice, positions, **arguments)
            assert len(calls) > 1
            assert sum(calls) == 3
            calls.clear()
            assert whole.keys() == pieces.keys()
            for key, value in whole.items():
                torch.testing.assert_close(pieces[key], value, rtol=0, atol=1e-10)


def test_what_is_returned(calculator):
    types, lattice, positions, _ = tensors_of([crystal('fe_fcc_1')])
    arguments = (types, lattice[0], positions)
    assert set(calculator.predict_from_tensors(*arguments)) == {'total_energy'}
    assert set(calculator.predict_from_tensors(*arguments, return_energy=False, return_stress=True)) == {'stresses'}
    batch = calculator.predict_from_batch_tensors(types, lattice, positions, sizes=[1], return_energy=False,
                                                  return_forces=True)
    assert set(batch) == {'forces'}
    atoms = crystal('fe_fcc_1')
    assert set(calculator.forward(atoms, include_forces=True)) == {'total_energy', 'forces'}
    assert set(calculator.forward(atoms, include_forces=True, return_forces=False)) == {'total_energy'}


def test_gradients_of_the_energy_are_forces_and_stress(calculator):
    types, lattice, positions, _ = tensors_of([crystal('triclinic_6')])
    for t in (types, lattice, positions):
        t.requires_grad_(True)
    result = calculator.predict_from_tensors(types, lattice[0], positions, **EVERYTHING)
    assert result['total_energy'].requires_grad
    assert not result['forces'].requires_grad
    result['total_energy'].backward()
    torch.testing.assert_close(-positions.grad, result['forces'], rtol=0, atol=1e-12)
    # E(x(1+ε), L(1+ε)): the strain derivative is xᵀ dE/dx + Lᵀ dE/dL.
    with torch.no_grad():
        virial = positions.T @ positions.grad + lattice[0].T @ lattice.grad[0]
        stress = virial / torch.linalg.det(lattice[0]).abs() * 160.21766208
    torch.testing.assert_close(stress, result['stresses'][0].detach(), rtol=1e-6, atol=1e-9)
    assert types.grad.shape == (6, 95)
    assert all(p.grad is None for p in calculator.potential.parameters())


@pytest.mark.parametrize('target', ['forces', 'stresses'])
def test_loss_on_forces_and_stress(calculator, target):
    types, lattice, positions, sizes = tensors_of([crystal('nacl_sheared_2'), crystal('fe_fcc_1')])
    for t in (types, lattice, positions):
        t.requires_grad_(True)
    result = calculator.predict_from_batch_tensors(
        types, lattice, positions, sizes=sizes, return_forces=target == 'forces', return_stress=target == 'stresses',
        create_graph_forces=target == 'forces', create_graph_stress=target == 'stresses',
    )
    result[target].square().sum().backward()
    assert all(t.grad.isfinite().all() and t.grad.abs().max() > 0 for t in (types, lattice, positions))


def test_tensors_of_the_user_stay_as_they_are(calculator):
    types, lattice, positions, _ = tensors_of([crystal('si_rattled_8')])
    before = [t.clone() for t in (types, lattice, positions)]
    calculator.predict_from_tensors(types, lattice[0], positions, **EVERYTHING, create_graph_forces=True)
    for t, old in zip((types, lattice, positions), before, strict=True):
        assert torch.equal(t, old)
        assert not t.requires_grad
    with torch.no_grad():
        result = calculator.predict_from_tensors(types, lattice[0], positions, **EVERYTHING)
    assert not any(v.requires_grad for v in result.values())


def test_soft_types(calculator):
    """With ``soft_normalize`` the gradient has the normaliser's part; without, the heaviest species decides there."""
    atoms = crystal('nacl_sheared_2')
    hard, lattice, positions, _ = tensors_of([atoms])
    both = [calculator.predict_from_tensors(hard, lattice[0], positions, soft_normalize=s) for s in (True, False)]
    assert both[0]['total_energy'] == both[1]['total_energy']
    soft = (0.8 * hard + 0.2 / 95).requires_grad_(True)
    gradients, energies = [], []
    for choice in (True, False):
        energy = calculator.predict_from_tensors(soft, lattice[0], positions, soft_normalize=choice)['total_energy']
        gradients.append(torch.autograd.grad(energy, soft)[0])
        energies.append(energy.item())
    assert abs(energies[0] - energies[1]) > 0.1
    shift = calculator.model(torch.float64).normalizer.shift
    assert (gradients[0] - gradients[1] - shift).abs().max() > 1e-3  # the scale's part too
    assert torch.equal(gradients[1][:, 0] == 0, torch.tensor([False, False]))


@pytest.mark.parametrize('potential', [
    str(TINY), TINY, load_mattersim(TINY), load_mattersim(TINY, torch.float32)], ids=['str', 'path', 'f64', 'f32'])
def test_potentials(potential):
    expected = model_of('tiny-random')
    calculator = DifferentiableMatterSimCalculator(potential, dtype=torch.float64)
    energy = calculator.forward(crystal('triclinic_6'))['total_energy'].item()
    assert abs(energy - -23.829371255259638) < 1e-10
    assert calculator.potential.config == expected.config


def test_an_official_potential(monkeypatch):
    """Whatever has ``model.model_args`` and a state dict, like the official ``Potential``."""

    class Official:
        def __init__(self, checkpoint):
            self.model_args, self._state = checkpoint['model_args'], checkpoint['model']

        def state_dict(self):
            return self._state

    class Potential:
        model = Official(torch.load(TINY, weights_only=True))

    calculator = DifferentiableMatterSimCalculator(Potential(), dtype=torch.float64)
    assert abs(calculator.forward(crystal('triclinic_6'))['total_energy'].item() - -23.829371255259638) < 1e-10


@pytest.mark.parametrize('arguments', [(), (None,), ('mattersim',), ('MatterSim',)])
def test_default_is_the_file_in_the_variable(monkeypatch, arguments):
    monkeypatch.setenv('MLFC_MATTERSIM_CHECKPOINT', str(TINY))
    assert DifferentiableMatterSimCalculator(*arguments).potential.metadata['name'] == 'tiny-random'


@pytest.mark.parametrize('name', ['mattersim-v1.0.0-1m', 'MatterSim-v1.0.0-1M.pth'])
def test_published_names_are_taken_from_the_cache(monkeypatch, tmp_path, name):
    monkeypatch.setenv('MLFC_CACHE', str(tmp_path))
    (tmp_path / 'mattersim').mkdir()
    copyfile(TINY, tmp_path / 'mattersim' / 'mattersim-v1.0.0-1M.pth')
    assert DifferentiableMatterSimCalculator(name).potential.metadata['name'] == 'mattersim-v1.0.0-1M'


def test_names_of_other_potentials_are_refused():
    with pytest.raises(ValueError, match='potential: dx-demo ships with this package and is no MatterSim'):
        DifferentiableMatterSimCalculator('dx-demo')


@pytest.mark.parametrize('duplicate', [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))], ids=['copy', 'pickle'])
def test_copies(calculator, duplicate):
    """Optimisers, NEB and process pools do it."""
    other = duplicate(calculator)
    assert other.forward(bulk('Si'))['total_energy'] == calculator.forward(bulk('Si'))['total_energy']
    assert other.potential.metadata == calculator.potential.metadata


def _call(calculator, **changes):
    types, lattice, positions, sizes = tensors_of([bulk('Si'), bulk('Fe')])
    arguments = {'batch_atom_types': types, 'lattice': lattice, 'positions': positions, 'sizes': sizes} | changes
    return calculator.predict_from_batch_tensors(**arguments)


NAN = torch.full((3, 3), float('nan'), dtype=torch.float64)
FLAT = torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 1, 0]], dtype=torch.float64)


@pytest.mark.parametrize(('changes', 'message'), [
    ({'positions': torch.zeros(3, 2)}, r'positions: got shape \(3, 2\), wanted \(3, 3\)'),
    ({'positions': torch.zeros(5, 3)}, r'sizes: got \[2, 1\], 3 atoms in all, wanted 5'),
    ({'positions': NAN}, 'positions: got NaN'),
    ({'positions': torch.zeros(3, 3, dtype=torch.float64)}, 'positions: atoms 0 and 1 are 0 Å apart'),
    ({'batch_atom_types': torch.zeros(3, 94)}, r'atom_types: got shape \(3, 94\), wanted \(3, 95\)'),
    ({'batch_atom_types': torch.full((3, 95), float('inf'))}, 'atom_types: got NaN or infinity'),
    ({'lattice': torch.eye(3)}, r'lattice: got shape \(1, 3, 3\), wanted \(2, 3, 3\)'),
    ({'lattice': torch.stack([NAN, NAN])}, 'lattice: got NaN'),
    ({'lattice': torch.stack([4 * torch.eye(3).double(), 4 * FLAT])}, 'lattice: structure 1 has a volume of 0'),
    ({'lattice': torch.zeros(2, 3, 3)}, 'lattice: structure 0 has a volume of 0'),
    ({'sizes': torch.tensor([-1, 4])}, r'sizes: got \[-1, 4\], wanted a list of non-negative integers'),
    ({'sizes': torch.tensor([1.5, 1.5])}, r'sizes: got \[1.5, 1.5\]'),
    ({'sizes': torch.tensor([3, 0])}, r'sizes: got sizes \[3, 0\], wanted .* no empty one'),
    ({'sizes': []}, 'sizes: got'),
    ({'sizes': None}, 'sizes: got neither sizes nor batch_index'),
    ({'batch_index': torch.tensor([0, 1, 0])}, r'batch_index: got \[0, 1, 0\].* do not decrease'),
    ({'batch_index': torch.tensor([0, 1, 1])}, r'sizes: got \[2, 1\], but batch_index says \[1, 2\]'),
    ({'sizes': None, 'batch_index': torch.tensor([0, 0, 2])}, r'batch_index: got sizes \[2, 0, 1\]'),
    ({'sizes': None, 'batch_index': torch.tensor([0, 0])}, r'batch_index: got \[2\], 2 atoms in all, wanted 3'),
], ids=str)
def test_bad_tensors(calculator, changes, message):
    with pytest.raises(ValueError, match=message):
        _call(calculator, **changes)


def test_bad_types(calculator):
    types, lattice, positions, sizes = tensors_of([bulk('Si'), bulk('Fe')], torch.float16)
    with pytest.raises(TypeError, match=r'dtype: got torch.float16, wanted torch.float32 or torch.float64'):
        calculator.predict_from_batch_tensors(types, lattice, positions, sizes=sizes)
    with pytest.raises(TypeError, match=r'lattice: got ndarray, wanted a torch.Tensor'):
        _call(calculator, lattice=lattice.numpy())


@pytest.mark.parametrize(('atoms', 'error', 'message'), [
    (Atoms(), ValueError, 'atoms: structure 0 has 0 atoms'),
    (Atoms('Si', cell=np.eye(3) * 5), ValueError, r'pbc=\[False, False, False\]'),
    (Atoms('X', cell=np.eye(3) * 5, pbc=True), ValueError, r'atomic numbers \[0\], wanted 1 to 94'),
    (Atoms('Am', cell=np.eye(3) * 5, pbc=True), ValueError, r'atomic numbers \[95\], wanted 1 to 94'),
    (Atoms('Si', pbc=True), ValueError, 'lattice: structure 0 has a volume of 0'),
], ids=['empty', 'molecule', 'dummy', 'americium', 'no cell'])
def test_bad_structures(calculator, atoms, error, message):
    with pytest.raises(error, match=message):
        calculator.forward(atoms)
    with pytest.raises(error, match=message):
        calculator.forward_batch([atoms])


def test_elements_of_the_structure_do_not_matter_where_types_are_given(calculator):
    atoms = crystal('nacl_sheared_2')
    types, _, positions, _ = tensors_of([atoms])
    expected = calculator.forward(atoms, positions=positions)['total_energy']
    atoms.numbers[:] = [0, 103]
    assert calculator.forward(atoms, types, positions)['total_energy'] == expected


def test_no_atoms(calculator):
    with pytest.raises(ValueError, match='positions: got no atoms'):
        calculator.predict_from_tensors(torch.zeros(0, 95), torch.eye(3), torch.zeros(0, 3))


def test_bad_arguments(calculator):
    with pytest.raises(ValueError, match='atoms_list: got an empty list'):
        calculator.forward_batch([])
    with pytest.raises(ValueError, match=r'sizes: got sizes or batch_index that differ .* \[2, 1\]'):
        calculator.forward_batch([bulk('Si'), bulk('Fe')], sizes=[1, 2])
    with pytest.raises(TypeError, match='atoms: got str as structure 1'):
        calculator.forward_batch([bulk('Si'), 'Fe'])
    for arguments, message in (
        ({'topology': 'frozen'}, "topology: got 'frozen'"),
        ({'skin': -1.0}, 'skin: got -1.0'),
        ({'twobody_cutoff': 6.0}, 'twobody_cutoff: got 6.0 Å, wanted 5.0 Å: the checkpoint fixes it'),
        ({'threebody_cutoff': 5.0}, 'threebody_cutoff: got 5.0 Å, wanted 4.0'),
    ):
        with pytest.raises(ValueError, match=message):
            DifferentiableMatterSimCalculator(calculator.potential, **arguments)
    with pytest.raises(TypeError, match='potential: got int'):
        DifferentiableMatterSimCalculator(3)
    with pytest.raises(FileNotFoundError, match='potential: no-such-model is neither'):
        DifferentiableMatterSimCalculator('no-such-model')
