"""How force constants change with strain: from forces at one volume, against springs whose answer is known."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from aiida_mlfc.core.potentials.derivatives.energy_derivatives import energy_forces
from aiida_mlfc.core.potentials.dx.config import DXConfig
from aiida_mlfc.core.potentials.dx.model import DXModel
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.training import expansion_changes as changes
from aiida_mlfc.core.potentials.training import expansion_fit
from aiida_mlfc.core.potentials.training import third_order as third_order_module
from aiida_mlfc.core.potentials.training.batches import prepare
from aiida_mlfc.core.potentials.training.expansion_changes import SMALL, known_changes
from aiida_mlfc.core.potentials.training.expansion_fit import fit_expansion
from aiida_mlfc.core.potentials.training.expansion_rows import terms_among
from aiida_mlfc.core.potentials.training.harmonic_labels import DISPLACEMENT
from aiida_mlfc.core.potentials.training.recipe import Recipe
from aiida_mlfc.core.potentials.training.third_order import third_order
from aiida_mlfc.core.structures.cells import to_phonopy
from aiida_mlfc.core.structures.sublattices import sites_of

from ...toy_mirrors import LATTICE, exact_force_constants, labelled, springs

#: a little further than the springs: the last splines before the cutoff are few
LENGTHS = {'pair_cutoff': 5.4, 'triplet_cutoff': 3.0, 'pair_spacing': 0.3, 'triplet_spacing': 0.8}
STRAIN = np.array([[1.0, 0.3, 0.0], [0.3, -0.4, 0.2], [0.0, 0.2, 0.7]])


def random_set(n, size, seed=7, supercell=None):
    """Displacements of all atoms, 64 by default, with forces."""
    primitive = bulk('NaCl', 'zincblende', a=LATTICE)
    supercell = supercell or bulk('NaCl', 'zincblende', a=LATTICE, cubic=True) * (2, 2, 2)
    drawn = np.random.default_rng(seed).standard_normal((n, len(supercell), 3))
    return labelled('springs', primitive, supercell, size * drawn)


@pytest.fixture(scope='module')
def reference():
    return random_set(20, 0.01)


def exact_change(supercell, strain, shifts, step=1e-4):
    i, j, vectors, *_ = springs(supercell)
    sides = [
        exact_force_constants(supercell, vectors + s * step * (vectors @ strain + shifts[j] - shifts[i]))
        for s in (1, -1)
    ]
    return (sides[0] - sides[1]) / (2 * step)


def third_of(some, displacements=None, forces=None):
    return third_order(
        to_phonopy(some.supercell),
        some.displacements if displacements is None else displacements,
        some.forces if forces is None else forces,
    )


@pytest.mark.parametrize('which', ['strain', 'shifts'])
def test_changes_are_those_of_the_springs(reference, which):
    third = third_of(reference)
    n = len(reference.supercell)
    strain = STRAIN if which == 'strain' else np.zeros((3, 3))
    shifts = np.random.default_rng(1).standard_normal((n, 3)) if which == 'shifts' else np.zeros((n, 3))
    expected = exact_change(reference.supercell, strain, shifts)[third.atoms]
    found = third.change(strain, shifts)
    assert found.shape == (2, n, 3, 3)
    # fourth order is in the forces
    assert np.linalg.norm(found - expected) < 0.05 * np.linalg.norm(expected)


def test_what_does_not_determine_it_gives_none(reference):
    rng = np.random.default_rng(2)
    assert third_of(random_set(2, 0.01)) is None, 'fewer equations than unknowns'
    assert third_of(reference, forces=reference.forces + 0.03 * rng.standard_normal(reference.forces.shape)) is None
    assert third_of(reference, reference.displacements[:0], reference.forces[:0]) is None
    single = np.zeros((6, 64, 3))
    single[np.arange(6), [0, 0, 0, 32, 32, 32], [0, 1, 2, 0, 1, 2]] = 0.03
    assert third_of(labelled('one atom', reference.primitive, reference.supercell, single)) is None, 'singular'


@pytest.mark.parametrize('size', [0.003, 0.1], ids=['too small', 'too large'])
def test_displacements_have_their_limits(reference, size, monkeypatch):
    monkeypatch.setattr(third_order_module, '_determined', lambda *_: pytest.fail('asked for'))
    assert third_of(random_set(20, size)) is None


@pytest.mark.parametrize('n_atoms', [2, 16])
def test_supercells_too_small_to_tell_images_apart(n_atoms):
    """Their changes with strain are 30 to 100 % wrong, and no noise shows it."""
    repeated = {2: (1, 1, 1), 16: (2, 2, 2)}[n_atoms]
    supercell = bulk('NaCl', 'zincblende', a=LATTICE) * repeated
    assert third_of(random_set(60, 0.01, supercell=supercell)) is None


def test_a_cell_that_symfc_has_no_third_order_for():
    supercell = bulk('NaCl', 'rocksalt', a=5.5, cubic=True)
    rng = np.random.default_rng(3)
    u, forces = (0.02 * rng.standard_normal((10, len(supercell), 3)) for _ in range(2))
    assert third_order(to_phonopy(supercell), u, forces) is None


def learned(reference):
    torch.manual_seed(0)
    config = DXConfig(species=(11, 17), channels=8, expansion_systems=((11, 17),), **LENGTHS)
    model = DXModel(config).double()
    model.requires_grad_(False)
    model.silence()
    return model, fit_expansion(model, [prepare(reference, model)], Recipe())


def change_with_volume(model, supercell, displacement=0.005):
    """Of force constants of the first atom, by forces of cells 0.3 % larger and smaller; per unit of strain."""
    found = []
    for scale in (1.003, 0.997):
        moved = supercell.copy()
        moved.set_cell(moved.cell * scale, scale_atoms=True)
        columns = []
        for axis in range(3):
            sides = []
            for sign in (1, -1):
                displaced = moved.copy()
                displaced.positions[0, axis] += sign * displacement
                sides.append(energy_forces(model, build_graph(displaced, model.cutoff, model.species))[1].numpy())
            columns.append((sides[1] - sides[0]) / (2 * displacement))
        found.append(np.array(columns))
    return (found[0] - found[1]) / 0.006


def test_an_expansion_learns_it_from_one_volume(reference, monkeypatch):
    expected = exact_change(reference.supercell, np.eye(3), np.zeros((64, 3)))[0].transpose(1, 0, 2)
    model, fit = learned(reference)
    found = change_with_volume(model, reference.supercell)
    assert fit.third_order == ('springs',)
    assert np.linalg.norm(found - expected) < 0.03 * np.linalg.norm(expected)
    monkeypatch.setattr(expansion_fit, 'third_order', lambda *_: None)
    model, other = learned(reference)
    without = change_with_volume(model, reference.supercell)
    assert other.third_order == ()
    assert np.linalg.norm(without - expected) > 0.2 * np.linalg.norm(expected)
    # what is known of the change does not count among the forces that are left
    assert 0 < fit.left < 0.002


def test_what_strain_does_to_all_atoms(reference):
    third, n = third_of(reference), len(reference.supercell)
    whole = np.einsum('ijabcd,cd->ijab', third.strained, STRAIN)
    expected = exact_change(reference.supercell, STRAIN, np.zeros((n, 3)))
    assert np.linalg.norm(whole - expected) < 0.05 * np.linalg.norm(expected)
    assert np.abs(whole - whole.transpose(1, 0, 3, 2)).max() < 1e-10 * np.abs(whole).max()
    assert (third.change(STRAIN, np.zeros((n, 3))) == whole[third.atoms]).all()


@pytest.fixture(scope='module')
def talking(reference):
    """A model whose network says something, what it is to learn, and the rows and labels of one that is silent."""
    torch.manual_seed(0)
    config = DXConfig(species=(11, 17), channels=8, expansion_systems=((11, 17),), **LENGTHS)
    model = DXModel(config).double().requires_grad_(False)
    material, terms, third = prepare(reference, model), terms_among(model.expansion, (0, 1)), third_of(reference)
    with_network = known_changes(model, terms, material, third, Recipe())
    silent = deepcopy(model)
    silent.silence()
    return model, material, third, with_network, known_changes(silent, terms, material, third, Recipe())


def four_sides(model, graph, strain, shifts, u):
    """Change of the forces that are odd in u, by cells strained and displaced here, without the design rows."""
    numbers, cell = np.array(model.species)[graph.atom_types.argmax(1)], graph.cell[0].numpy()
    atoms = Atoms(numbers, graph.positions.numpy(), cell=cell, pbc=True)
    total = np.zeros((len(atoms), 3))
    for side in (1, -1):
        for sign in (1, -1):
            moved = atoms.copy()
            moved.set_cell(moved.cell @ (np.eye(3) + side * strain), scale_atoms=True)
            moved.positions += side * shifts + sign * u
            forces = energy_forces(model, build_graph(moved, model.cutoff, model.species))[1].numpy()
            total += side * sign / 4 * forces
    return total


@pytest.mark.parametrize('which', ['shifts', 'strain'])
def test_what_the_network_says_of_it_is_not_learned_twice(talking, which):
    """It is taken off the labels."""
    model, material, third, with_network, silent = talking
    rng, n = np.random.default_rng(Recipe().seed), material.supercell.n_atoms
    for _ in range(1 if which == 'shifts' else changes.SHIFTED):
        shifts = SMALL * changes.SHIFT * rng.standard_normal((n, 3))
        u = np.zeros((n, 3))
        u[third.atoms] = SMALL * DISPLACEMENT * rng.standard_normal((len(third.atoms), 3))
    if which == 'shifts':
        of_network, k, of_one = four_sides(model, material.supercell, np.zeros((3, 3)), shifts, u), 0, 1.0
        of_dft = -np.einsum('ijab,ia->jb', third.change(np.zeros((3, 3)), shifts), u[third.atoms])
    else:
        for _ in range(changes.STRAINED):
            rng.standard_normal((3, 3))
        cell, k = material.cells[0], changes.SHIFTED
        u, _, factors = cell.draw('half', rng)
        of_one = factors / factors.size**0.5
        strain = SMALL * changes.STRAIN * np.eye(3)
        of_network = four_sides(model, cell.graph, strain, np.zeros_like(u), SMALL * u)
        owner, sites = sites_of(cell.graph.cell[0].numpy(), material.supercell.positions.numpy(), np.zeros(n))
        assert cell.graph.n_atoms == len(sites) == 2
        of_dft = np.zeros_like(u)
        for image, j in enumerate(owner):
            by_strain = np.einsum('iabcd,cd->iab', third.strained[sites, image], strain)
            of_dft -= by_strain @ (SMALL * u[j])
    whole, labels = (some[k][1].numpy().reshape(-1, 3) for some in (silent, with_network))
    size = np.linalg.norm(of_one * of_dft) / np.linalg.norm(whole)
    largest = np.abs(of_one * of_network).max()
    assert np.abs(size * (whole - labels) - of_one * of_network).max() < 1e-4 * largest
    assert largest > 1e-9
    assert np.abs(size * whole - of_one * of_dft).max() < 1e-9 * np.abs(of_one * of_dft).max()


def test_wave_vectors_that_the_supercell_does_not_hold_teach_no_strain(reference):
    torch.manual_seed(0)
    model = DXModel(DXConfig(species=(11, 17), channels=8, expansion_systems=((11, 17),), **LENGTHS)).double()
    terms, third = terms_among(model.expansion, (0, 1)), third_of(reference)
    known, more = (
        known_changes(model, terms, prepare(reference, model, extra), third, Recipe())
        for extra in ((), ((1 / 3, 0.0, 0.0),))
    )
    assert len(known) == len(more)
