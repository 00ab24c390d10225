"""Coulomb energy of smeared charges: Madelung, derivatives, LO-TO splitting and every wave vector in closed forms."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.build import bulk, make_supercell
from ase.neighborlist import neighbor_list
from scipy.special import erfc

from aiida_mlfc.core.potentials.derivatives.energy_derivatives import energy_forces_stress
from aiida_mlfc.core.potentials.derivatives.mode_derivatives import mode_derivatives
from aiida_mlfc.core.potentials.derivatives.qspace import bloch_force_constants
from aiida_mlfc.core.potentials.derivatives.rows import directional_responses
from aiida_mlfc.core.potentials.graphs.batching import concatenate
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.long_range import LatentCharges, half_reciprocal_vectors
from aiida_mlfc.core.potentials.relaxation.relax import relax
from aiida_mlfc.core.units import COULOMB_EV_ANGSTROM

from ..small_systems import SPECIES, small_crystals, small_dx

CHARGES = {'Na': 0.8, 'Al': 1.1, 'Si': -0.4, 'Cl': -0.8}


class OnlyCharges(EnergyModel):
    """Nothing but the Coulomb energy: closed forms know all of it."""

    def __init__(self, width=1.0) -> None:
        super().__init__()
        self.species, self.cutoff, self.metadata = SPECIES, 4.4, {}
        self.n_message_layers, self.interaction_range = 1, 4.4
        self.charges = LatentCharges(len(SPECIES), width).double()
        with torch.no_grad():
            self.charges.charges.copy_(torch.tensor(list(CHARGES.values()), dtype=torch.float64))

    def forward(self, graph):
        return self.local_energy(graph) + self.charges(graph)

    def local_energy(self, graph):
        # nothing, with a second derivative
        return 0.0 * graph.sum_to_systems(graph.sum_to_centres(graph.edge_vectors().square().sum(1)))

    @property
    def long_range(self):
        return self.charges


def graph_of(atoms, cutoff=4.4):
    return build_graph(atoms, cutoff, SPECIES, torch.float64, torch.device('cpu'))


@pytest.mark.parametrize('width', [0.6, 1.0, 1.7])
def test_madelung_constant_of_rock_salt(width):
    """With the screened rest of Coulomb's law added, in real space, the point charges' lattice energy comes out."""
    salt = bulk('NaCl', 'rocksalt', a=5.64)
    energy = OnlyCharges(width)(graph_of(salt)).item()
    i, j, d = neighbor_list('ijd', salt, 12 * width)
    signs = np.where(salt.numbers == 11, 0.8, -0.8)
    energy += 0.5 * COULOMB_EV_ANGSTROM * np.sum(signs[i] * signs[j] * erfc(d / (2 * width)) / d)
    assert energy == pytest.approx(-1.7475645946331822 * COULOMB_EV_ANGSTROM * 0.8**2 / 2.82, rel=1e-11)


@pytest.mark.parametrize('name', sorted(small_crystals()))
def test_larger_cells_hold_multiples_of_the_energy(name):
    atoms = small_crystals()[name]
    model = OnlyCharges()
    large = make_supercell(atoms, [[1, 1, 0], [0, 2, 0], [0, 1, 1]])
    assert model(graph_of(large)).item() == pytest.approx(2 * model(graph_of(atoms)).item(), abs=1e-11)


def test_a_batch_holds_what_its_crystals_hold():
    model, crystals = OnlyCharges(), list(small_crystals().values())
    together = energy_forces_stress(model, concatenate([graph_of(atoms) for atoms in crystals]))
    alone = [energy_forces_stress(model, graph_of(atoms)) for atoms in crystals]
    for whole, parts in zip(together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(whole, torch.cat(parts), rtol=0, atol=1e-12)


def test_mean_charge_has_no_meaning():
    model = OnlyCharges()
    graph = graph_of(small_crystals()['rocksalt-rattled'])
    before = model(graph).item()
    with torch.no_grad():
        model.charges.charges.add_(3.0)
    assert model(graph).item() == pytest.approx(before, abs=1e-12)


def test_second_derivatives_in_positions_and_strain():
    model = OnlyCharges()
    graph = graph_of(small_crystals()['rocksalt-rattled'])

    def energy(positions, strain):
        return model(graph.with_positions(positions).strained(strain))

    inputs = (
        graph.positions.clone().requires_grad_(True),
        torch.zeros(1, 3, 3, dtype=torch.float64).requires_grad_(True),
    )
    assert torch.autograd.gradcheck(energy, inputs, eps=1e-4, atol=1e-7)
    assert torch.autograd.gradgradcheck(energy, inputs, eps=1e-4, atol=1e-6)


@pytest.mark.parametrize('name', ['rocksalt', 'rocksalt-rattled'])
@pytest.mark.parametrize('model', [OnlyCharges(), small_dx(electrostatics=True)], ids=['charges', 'dx'])
def test_every_wave_vector_against_the_hessian_of_a_supercell(model, name):
    atoms = small_crystals()[name]
    repeats = (3, 2, 1)
    large = atoms * repeats
    n, n_cells = len(atoms), 6
    rows, _ = directional_responses(
        model, graph_of(large, model.cutoff), np.arange(n).repeat(3), np.tile(np.eye(3), (n, 1))
    )
    cells = np.rint(large.get_scaled_positions(wrap=False)[::n] * repeats - atoms.get_scaled_positions(wrap=False)[0])
    hessian = -rows.reshape(3 * n, n_cells, 3 * n)
    qpoints = np.array([[a / 3, b / 2, 0] for a in range(3) for b in range(2)])
    found = bloch_force_constants(model, graph_of(atoms, model.cutoff), qpoints)
    expected = [np.einsum('s,xsy->xy', np.exp(2j * np.pi * cells @ q), hessian) for q in qpoints]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11 * np.abs(hessian).max())


def test_reciprocal_lattice_vectors_change_nothing():
    graph = graph_of(small_crystals()['rocksalt-rattled'])
    qpoints = np.array([[0.13, 0.4, -0.3], [1.13, -0.6, 1.7], [0.5, 0.5, 0.0], [-0.5, 0.5, 1.0]])
    first, same, edge, same_edge = bloch_force_constants(OnlyCharges(), graph, qpoints)
    np.testing.assert_allclose(first, same, rtol=0, atol=1e-13)
    np.testing.assert_allclose(edge, same_edge, rtol=0, atol=1e-13)


def test_splitting_of_longitudinal_and_transverse_modes():
    """4π k Z²/V at a small q, between the directions along q and across (Born and Huang); none at Γ itself."""
    salt = bulk('NaCl', 'rocksalt', a=5.64)
    graph = graph_of(salt)
    direction = np.array([1.0, -2.0, 0.7]) / np.linalg.norm([1.0, -2.0, 0.7])
    reduced = 1e-4 * salt.cell.array @ direction / (2 * np.pi)
    zone_centre, near = bloch_force_constants(OnlyCharges(), graph, np.array([np.zeros(3), reduced]))
    expected = 4 * np.pi * COULOMB_EV_ANGSTROM * 0.8**2 / salt.get_volume()
    block = (near - zone_centre)[:3, :3].real
    np.testing.assert_allclose(block, expected * np.outer(direction, direction), rtol=0, atol=1e-6 * expected)
    np.testing.assert_allclose((near - zone_centre)[:3, 3:].real, -block, rtol=0, atol=1e-6 * expected)


def test_translations_cost_nothing():
    phi = bloch_force_constants(OnlyCharges(), graph_of(small_crystals()['rocksalt-rattled']), np.zeros((1, 3)))[0]
    n = len(phi) // 3
    assert np.abs(phi.reshape(-1, n, 3).sum(1)).max() < 1e-13


def test_one_species_has_no_charge():
    assert OnlyCharges()(graph_of(small_crystals()['diamond-rattled'])).item() == pytest.approx(0, abs=1e-13)


def test_half_of_the_reciprocal_vectors():
    cell = torch.tensor(small_crystals()['fcc-rattled'].cell.array)
    half = half_reciprocal_vectors(cell, 5.0).numpy().astype(int)
    both = {tuple(v) for v in half} | {tuple(-v) for v in half}
    grid = np.stack(np.meshgrid(*([np.arange(-9, 10)] * 3), indexing='ij'), -1).reshape(-1, 3)
    lengths = 2 * np.pi * np.linalg.norm(grid @ np.linalg.inv(cell.numpy()).T, axis=1)
    assert len(both) == 2 * len(half)
    assert both == {tuple(v) for v in grid[(lengths < 5.0) & (lengths > 0)]}


@pytest.mark.parametrize('variable', ['strain', 'positions', 'atom_types'])
def test_derivatives_of_frequencies_against_differences(variable):
    """One order more: Φ(q) of the charges is differentiated with all the rest."""
    model = small_dx(electrostatics=True)
    graph = graph_of(small_crystals()['rocksalt-rattled'], model.cutoff)
    masses, q = np.array([23.0, 35.0] * 2), np.array([0.2, -0.1, 0.4])
    shape = (graph.cell if variable == 'strain' else getattr(graph, variable)).shape
    direction = torch.randn(shape, generator=torch.manual_seed(3), dtype=torch.float64)

    def moved(step):
        if variable == 'strain':
            return graph.strained(step * direction)
        return replace(graph, **{variable: getattr(graph, variable) + step * direction})

    found = mode_derivatives(model, graph, masses, q, wrt=[variable])
    squares = {h: mode_derivatives(model, moved(h), masses, q).squares for h in (2e-4, -2e-4, 1e-4, -1e-4)}
    wide, narrow = ((squares[h] - squares[-h]) / (2 * h) for h in (2e-4, 1e-4))
    expected = (4 * narrow - wide) / 3
    ours = np.sum(getattr(found, variable) * direction[0 if variable == 'strain' else slice(None)].numpy(), axis=(1, 2))
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_relaxation_finds_the_minimum():
    """Newton's method takes products of second derivatives in positions and strain."""
    model = small_dx(electrostatics=True)
    model.metadata = {'validity': {'has_stress': True}}
    found = relax(small_crystals()['rocksalt-rattled'], model, relax_cell=True, fmax=1e-5)
    _, forces, stress = energy_forces_stress(model, graph_of(found.atoms, model.cutoff))
    assert found.fallback is None
    assert forces.abs().max() < 1e-5
    assert stress.abs().max() < 1e-3
