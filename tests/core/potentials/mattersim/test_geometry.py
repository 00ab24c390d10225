"""Lattices and coordinates."""

import numpy as np
import pytest
import torch
from ase.geometry import cellpar_to_cell

from aiida_mlfc.core.potentials.mattersim.calculator import (
    cart_to_frac,
    compute_distance_pbc,
    frac_to_cart,
    lattice_params_to_matrix,
    wrap_to_unit_cell,
)

PARAMETERS = [[3.6, 3.6, 3.6, 60, 60, 60], [4.0, 5.0, 6.0, 90, 90, 90], [5.1, 6.3, 4.9, 82.0, 101.0, 77.0]]


@pytest.mark.parametrize('params', PARAMETERS)
def test_lattice_params(params):
    matrix = lattice_params_to_matrix(torch.tensor(params, dtype=torch.float64))
    assert np.abs(matrix.numpy() - cellpar_to_cell(params)).max() < 1e-12


def test_lattice_params_of_a_batch_and_their_gradient():
    params = torch.tensor(PARAMETERS, dtype=torch.float64, requires_grad=True)
    assert lattice_params_to_matrix(params).shape == (3, 3, 3)
    assert torch.autograd.gradcheck(lattice_params_to_matrix, params)
    with pytest.raises(ValueError, match='params: got shape'):
        lattice_params_to_matrix(torch.ones(5))


def test_fractional_and_back():
    lattice = lattice_params_to_matrix(torch.tensor(PARAMETERS, dtype=torch.float64))
    frac = torch.rand(3, 7, 3, dtype=torch.float64, generator=torch.manual_seed(0))
    cart = frac_to_cart(frac, lattice)
    torch.testing.assert_close(cart[2], frac[2] @ lattice[2])
    torch.testing.assert_close(cart_to_frac(cart, lattice), frac)
    torch.testing.assert_close(cart_to_frac(cart[0], lattice[0]), frac[0])


def test_wrap():
    frac = torch.tensor([-0.25, 1.25, 0.0, 1.0, -1e-20, 3.999], dtype=torch.float64, requires_grad=True)
    wrapped = wrap_to_unit_cell(frac)
    torch.testing.assert_close(wrapped.detach(), torch.tensor([0.75, 0.25, 0, 0, 0, 0.999], dtype=torch.float64))
    assert (wrapped >= 0).all()
    assert (wrapped < 1).all()
    (gradient,) = torch.autograd.grad(wrapped.sum(), frac)
    assert torch.equal(gradient, torch.ones_like(frac))


def test_distance_to_an_image():
    lattice = 4 * torch.eye(3, dtype=torch.float64)
    origin, other = torch.zeros(2, 3, dtype=torch.float64), torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]).double()
    offsets = torch.tensor([[0, 0, 0], [0, -1, 0]])
    distances = compute_distance_pbc(origin, other, lattice, offsets)
    assert distances.tolist() == [1.0, 3.0]
    assert distances.dtype == torch.float64
