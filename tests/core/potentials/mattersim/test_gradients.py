"""gradcheck and gradgradcheck through the calculator, for positions, lattice and atom types."""

import pytest
import torch
from ase.build import bulk

from aiida_mlfc.core.potentials.mattersim.calculator import DifferentiableMatterSimCalculator

from .reference_values import TINY, crystal

CRYSTALS = {
    # One atom, every edge a self image, lattice vectors shorter than the cutoff.
    'one-atom': bulk('Fe', 'fcc', a=3.6),
    'rocksalt': crystal('nacl_sheared_2'),
}


@pytest.fixture(scope='module')
def calculator():
    return DifferentiableMatterSimCalculator(TINY)


def inputs_of(atoms, soft):
    """Positions, lattice, and the weights of the few species that take part; all to be differentiated."""
    generator = torch.manual_seed(3)
    positions = torch.tensor(atoms.positions)
    lattice = torch.tensor(atoms.cell.array)
    types = torch.zeros(len(atoms), 95, dtype=torch.float64)
    types[torch.arange(len(atoms)), torch.tensor(atoms.numbers)] = 1
    if soft:
        types = torch.softmax(4 * types + 0.3 * torch.randn(types.shape, generator=generator, dtype=torch.float64), 1)
    return positions.requires_grad_(True), lattice.requires_grad_(True), types


@pytest.mark.parametrize('name', CRYSTALS)
def test_positions_and_lattice(calculator, name):
    positions, lattice, types = inputs_of(CRYSTALS[name], soft=True)

    def energy(positions, lattice):
        return calculator.predict_from_tensors(types, lattice, positions)['total_energy']

    assert torch.autograd.gradcheck(energy, (positions, lattice), eps=1e-5, atol=1e-6)
    assert torch.autograd.gradgradcheck(energy, (positions, lattice), eps=1e-5, atol=1e-5)


@pytest.mark.parametrize('name', CRYSTALS)
@pytest.mark.parametrize('soft_normalize', [True, False])
def test_atom_types(calculator, name, soft_normalize):
    """Along ten columns; without ``soft_normalize`` the types act through the embedding alone."""
    positions, lattice, types = inputs_of(CRYSTALS[name], soft=True)
    columns = torch.tensor([1, 8, 11, 12, 14, 17, 22, 26, 56, 94])
    chosen = types[:, columns].clone().requires_grad_(True)

    def energy(chosen, lattice):
        full = types.index_copy(1, columns, chosen)
        return calculator.predict_from_tensors(full, lattice, positions.detach(), soft_normalize=soft_normalize)[
            'total_energy'
        ]

    assert torch.autograd.gradcheck(energy, (chosen, lattice), eps=1e-5, atol=1e-5)
    assert torch.autograd.gradgradcheck(energy, (chosen, lattice), eps=1e-5, atol=1e-4)


@pytest.mark.parametrize('name', CRYSTALS)
def test_forces_and_stress_in_a_loss(calculator, name):
    """Their own gradients, asked for through ``create_graph``."""
    positions, lattice, types = inputs_of(CRYSTALS[name], soft=True)

    def loss(positions, lattice):
        result = calculator.predict_from_tensors(
            types, lattice, positions, return_forces=True, return_stress=True, create_graph_forces=True,
            create_graph_stress=True,
        )
        return result['forces'], result['stresses']

    assert torch.autograd.gradcheck(loss, (positions, lattice), eps=1e-5, atol=1e-4)
