"""Edges that follow the structure: complete at every step, found anew only when they must be; or fixed."""

import numpy as np
import pytest
import torch
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st

from aiida_mlfc.core.potentials.mattersim.calculator import DifferentiableMatterSimCalculator, cart_to_frac
from aiida_mlfc.core.potentials.mattersim.topology import Topology, VerletList, find_edges

from .reference_values import TINY, crystal, model_of


def pairs_within(edge_index, shifts, positions, cell, cutoff):
    """The pairs of a list that are within ``cutoff`` now."""
    i, j = edge_index
    lengths = np.linalg.norm(positions[j] - positions[i] + shifts @ cell, axis=1)
    return {(*e, *s) for e, s, d in zip(edge_index.T.tolist(), shifts.tolist(), lengths, strict=True) if d < cutoff}


@settings(deadline=None, max_examples=40, derandomize=True)
@given(seed=st.integers(0, 10**6), size=st.floats(0.0, 0.3), skin=st.floats(0.05, 1.5))
def test_a_list_that_says_it_is_complete_is_complete(seed, size, skin):
    """Random displacements and strains of a random cell, against a search from nothing."""
    rng = np.random.default_rng(seed)
    cell = 3 * np.eye(3) + 0.6 * rng.standard_normal((3, 3))
    positions = rng.random((3, 3)) @ cell + np.array([[0, 0, 0], [1.2, 0, 0], [0, 1.3, 0]])
    cutoff = 4.0
    known = VerletList.of(positions, cell, cutoff, skin)
    deformation = np.eye(3) + 0.3 * size * rng.uniform(-1, 1, (3, 3))
    moved = positions @ deformation + size * rng.uniform(-1, 1, positions.shape) + rng.standard_normal(3)
    strained = cell @ deformation
    if known.covers(moved, strained):
        fresh = find_edges(moved, strained, cutoff)
        kept = pairs_within(known.edge_index, known.edge_cell_shifts, moved, strained, cutoff)
        assert kept == pairs_within(*fresh, moved, strained, cutoff)


def test_small_steps_need_no_search_and_large_ones_do():
    atoms = crystal('si_rattled_8')
    positions, cell = atoms.positions, atoms.cell.array
    topology = Topology(5.0, skin=0.5)

    def searches(points, lattice):
        topology.update([points], [lattice], 'cpu')
        return topology.n_searches

    assert searches(positions, cell) == 1
    assert searches(positions + np.array([3.0, -2.0, 0.5]), cell) == 1
    assert searches(positions * 1.5, cell * 1.5) == 1
    moved = positions.copy()
    moved[0, 0] += 0.2
    assert searches(moved, cell) == 1
    moved[0, 0] += 0.5
    assert searches(moved, cell) == 2
    assert searches(moved * 0.8, cell * 0.8) == 3
    assert searches(moved[:4], cell) == 4
    with pytest.raises(ValueError, match=r'skin: got -0\.1'):
        Topology(5.0, skin=-0.1)


def test_only_the_structure_that_moved_is_searched():
    a, b = crystal('si_rattled_8'), crystal('triclinic_6')
    topology = Topology(5.0)
    topology.update([a.positions, b.positions], [a.cell.array, b.cell.array], 'cpu')
    moved = b.positions.copy()
    moved[0] += 1.0
    edge_index, _ = topology.update([a.positions, moved], [a.cell.array, b.cell.array], 'cpu')
    assert topology.n_searches == 3
    assert edge_index.max() == 13


@pytest.mark.parametrize('skin', [0.0, 0.5])
def test_a_path_from_half_to_double_the_lattice(skin):
    """Every step has the energy, forces and stress of a calculator that sees the structure for the first time."""
    atoms = crystal('nacl_sheared_2')
    calculator = DifferentiableMatterSimCalculator(TINY, skin=skin)
    types = torch.nn.functional.one_hot(torch.tensor(atoms.numbers), 95).double()
    lattice = torch.tensor(atoms.cell.array)
    fractional = cart_to_frac(torch.tensor(atoms.positions), lattice)
    scales = np.concatenate([np.linspace(0.8, 2, 13), np.linspace(1.95, 0.85, 12)])
    everything = {'return_forces': True, 'return_stress': True, 'positions_are_fractional': True}
    for scale in scales:
        result = calculator.predict_from_tensors(types, lattice * scale, fractional, **everything)
        fresh = DifferentiableMatterSimCalculator(calculator.potential, skin=0.0)
        expected = fresh.predict_from_tensors(types, lattice * scale, fractional, **everything)
        for key in expected:
            torch.testing.assert_close(result[key], expected[key], rtol=1e-12, atol=1e-10)
    if skin:
        assert calculator.n_searches < len(scales)


def test_no_jump_along_a_path():
    """Energy along an expansion through many shells, in steps so small that a jump would stand out."""
    calculator = DifferentiableMatterSimCalculator(TINY)
    atoms = bulk('Al', 'fcc', a=4.0)
    energies, slopes = [], []
    # Shells cross 4 Å and 5 Å within this range.
    for a in np.linspace(3.95, 4.15, 201):
        scale = torch.tensor(a / 4.0, dtype=torch.float64, requires_grad=True)
        energy = calculator.forward(atoms, lattice=torch.tensor(atoms.cell.array) * scale)['total_energy']
        energies.append(energy.item())
        slopes.append(torch.autograd.grad(energy, scale)[0].item())
    for values in (energies, slopes):
        third = np.abs(np.diff(values, 3))
        assert third.max() < 1e-2 * np.abs(np.diff(values)).max()


def test_fixed_topology_keeps_the_edges_of_the_structure():
    atoms = bulk('Al', 'fcc', a=4.05)
    fixed = DifferentiableMatterSimCalculator(TINY, topology='fixed', dtype=torch.float64)
    follow = DifferentiableMatterSimCalculator(TINY, dtype=torch.float64)
    lattice = torch.tensor(atoms.cell.array)
    assert fixed.forward(atoms)['total_energy'] == follow.forward(atoms)['total_energy']
    # Compressed: the fixed edges lack the shells that came in; expanded: they lack nothing.
    for scale, same in ((0.85, False), (1.5, True)):
        a = fixed.forward(atoms, lattice=lattice * scale)['total_energy']
        b = follow.forward(atoms, lattice=lattice * scale)['total_energy']
        assert bool(abs(a - b) < 1e-10) is same
    assert fixed.n_searches == 1
    other = atoms.copy()
    other.set_cell(atoms.cell * 0.9, scale_atoms=True)
    assert abs(fixed.forward(other)['total_energy'] - follow.forward(other)['total_energy']) < 1e-10


def test_fixed_topology_of_tensors_is_that_of_the_first():
    atoms = bulk('Al', 'fcc', a=4.05)
    types = torch.nn.functional.one_hot(torch.tensor(atoms.numbers), 95).double()
    lattice, positions = torch.tensor(atoms.cell.array), torch.tensor(atoms.positions)
    fixed = DifferentiableMatterSimCalculator(TINY, topology='fixed')

    def energy(scale):
        return fixed.predict_from_tensors(types, lattice * scale, positions)['total_energy'].item()

    energy(1.0)
    compressed = energy(0.8)
    assert fixed.n_searches == 1
    fixed.reset_topology()
    assert abs(energy(0.8) - compressed) > 1e-6
    batch = [fixed.predict_from_batch_tensors(types, lattice[None] * s, positions, sizes=[1]) for s in (1.0, 0.8)]
    assert abs(batch[1]['total_energy'].item() - compressed) < 1e-10


def test_two_atoms_on_one_site():
    with pytest.raises(ValueError, match=r'positions: atoms 0 and 1 are 0 Å apart'):
        find_edges(np.zeros((2, 3)), 4 * np.eye(3), 5.0)


def test_every_image_is_an_edge():
    """A cell much smaller than the cutoff: as many edges as a supercell has, one atom of it."""
    model = model_of('tiny-random')
    atoms = bulk('Fe', 'bcc', a=2.87)
    single = find_edges(atoms.positions, atoms.cell.array, model.cutoff)[0].shape[1]
    large = atoms * (4, 4, 4)
    assert find_edges(large.positions, large.cell.array, model.cutoff)[0].shape[1] == 64 * single
