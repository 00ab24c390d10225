"""Gradients with respect to parameters, through activations differentiated by hand: what fine-tuning stands on."""

import pytest
import torch

from aiida_mlfc.core.potentials.derivatives.energy_derivatives import energy_forces_stress, hvp
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.mattersim.weights import load_mattersim

from .reference_values import TINY, crystal

#: relative to the size of each parameter
STEP = 1e-5


@pytest.fixture(scope='module')
def model():
    """Of this module alone: the shared ones are frozen."""
    return load_mattersim(TINY).requires_grad_(True).train()


def losses(model):
    """A loss of forces and stress, and one of Hessian products, as the stages of training have them."""
    graph = build_graph(crystal('triclinic_6'), model.cutoff, model.species)
    random = torch.Generator().manual_seed(0)
    labels = torch.randn(graph.n_atoms, 3, dtype=torch.float64, generator=random)
    _, forces, stress = energy_forces_stress(model, graph, create_graph=True)
    product = hvp(model, graph, labels, create_graph=True)
    return (forces - labels).square().mean() + 1e-3 * stress.square().sum(), (product - labels).square().mean()


@pytest.mark.parametrize('which', [0, 1], ids=['forces and stress', 'Hessian product'])
def test_against_differences(model, which):
    """Along a random direction in each parameter, central differences of the loss."""
    parameters = dict(model.named_parameters())
    gradients = torch.autograd.grad(losses(model)[which], list(parameters.values()), materialize_grads=True)
    random = torch.Generator().manual_seed(1)
    compared = 0
    for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True):
        direction = torch.randn(parameter.shape, dtype=torch.float64, generator=random)
        step = STEP * max(float(parameter.detach().abs().max()), 0.1)
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(sign * step * direction)
            values.append(losses(model)[which].item())
            with torch.no_grad():
                parameter.sub_(sign * step * direction)
        found, expected = (gradient * direction).sum().item(), (values[0] - values[1]) / (2 * step)
        assert found == pytest.approx(expected, rel=2e-4, abs=1e-10 * abs(values[0]) / step), name
        compared += abs(found) > 0
    # the energy's own constant moves no atom
    assert compared >= len(parameters) - 1
