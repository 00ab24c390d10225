"""JᵀJ is what it says, keeps what a Hessian keeps, and is not one."""

import numpy as np
import pytest
import torch
from ase.build import bulk

from aiida_mlfc.core.potentials.derivatives.gauss_newton import atomic_energies, gauss_newton_responses
from aiida_mlfc.core.potentials.derivatives.rows import directional_responses
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.mattersim.weights import load_mattersim

from ..mattersim.reference_values import GOLDEN

CRYSTAL = 'rocksalt-rattled'


@pytest.fixture
def model(make_dx):
    return make_dx()


@pytest.fixture
def graph(model, crystals):
    return build_graph(crystals[CRYSTAL], model.cutoff, model.species)


def everything(graph):
    """All unit displacements: atoms and directions."""
    return np.repeat(np.arange(graph.n_atoms), 3), np.tile(np.eye(3), (graph.n_atoms, 1))


def dense(model, graph):
    """-JᵀJ from an explicit J, row by row."""
    positions = graph.positions.clone().requires_grad_(True)
    energies = atomic_energies(model, graph.with_positions(positions))
    rows = [torch.autograd.grad(e, positions, retain_graph=True)[0].flatten() for e in energies]
    jacobian = torch.stack(rows).numpy()
    return -jacobian.T @ jacobian


def test_products_are_those_of_the_explicit_jacobian(model, graph):
    responses, forces = gauss_newton_responses(model, graph, *everything(graph))
    wanted = dense(model, graph)
    assert np.abs(wanted).max() > 1e-3
    np.testing.assert_allclose(responses.reshape(wanted.shape), wanted, atol=1e-12 * np.abs(wanted).max())
    np.testing.assert_allclose(forces, directional_responses(model, graph, *everything(graph))[1], atol=1e-13)


def test_energies_of_atoms_sum_up(model, graph):
    energies = atomic_energies(model, graph)
    assert energies.shape == (graph.n_atoms,)
    np.testing.assert_allclose(energies.detach().sum(), model(graph).detach()[0], rtol=1e-13)


def test_mattersim_gives_the_energies_of_its_atoms():
    model = load_mattersim(GOLDEN / 'tiny-random.pth', torch.float64, 'cpu')
    atoms = bulk('GaAs', 'zincblende', a=5.65)
    atoms.rattle(0.05, seed=1)
    graph = build_graph(atoms, model.cutoff, model.species)
    found = atomic_energies(model, graph).detach()
    np.testing.assert_allclose(found, model.atomic_energies(graph).detach(), rtol=1e-12)


def test_it_passes_every_check_of_force_constants_and_is_wrong(model, graph):
    """Symmetric, acoustic sum rule kept, and never unstable: the Hessian of the same crystal is."""
    n = 3 * graph.n_atoms
    baseline = -gauss_newton_responses(model, graph, *everything(graph))[0].reshape(n, n)
    exact = -directional_responses(model, graph, *everything(graph))[0].reshape(n, n)
    scale = np.abs(baseline).max()
    np.testing.assert_allclose(baseline, baseline.T, atol=1e-13 * scale)
    np.testing.assert_allclose(baseline.reshape(n, -1, 3).sum(1), 0, atol=1e-12 * scale)
    assert np.linalg.eigvalsh(baseline).min() > -1e-12 * scale
    assert np.linalg.eigvalsh(exact).min() < -1e-3 * np.abs(exact).max()
    # no choice of the energy that divides JᵀJ makes it the Hessian
    best = (baseline * exact).sum() / (baseline**2).sum()
    assert np.linalg.norm(best * baseline - exact) > 0.3 * np.linalg.norm(exact)


def test_energy_that_is_no_sum_over_atoms(model, graph):
    class Squared(EnergyModel):
        cutoff, species, metadata = model.cutoff, model.species, {}

        def forward(self, graph):
            return model(graph) ** 2

    with pytest.raises(ValueError, match='no sum over atoms'):
        gauss_newton_responses(Squared(), graph, np.array([0]), np.eye(3)[:1])


def test_progress(model, graph):
    seen = []
    gauss_newton_responses(model, graph, np.array([0, 1]), np.eye(3)[:2], lambda *counts: seen.append(counts))
    assert seen == [(1, 2), (2, 2)]
