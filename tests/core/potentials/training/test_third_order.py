"""How force constants change with strain: from forces at one volume, against springs whose answer is known."""

import numpy as np
import pytest
import torch
from ase.build import bulk

from aiida_mlfc.core.potentials.derivatives.energy_derivatives import energy_forces
from aiida_mlfc.core.potentials.dx.config import DXConfig
from aiida_mlfc.core.potentials.dx.model import DXModel
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.training import expansion_fit
from aiida_mlfc.core.potentials.training.batches import prepare
from aiida_mlfc.core.potentials.training.expansion_fit import fit_expansion
from aiida_mlfc.core.potentials.training.recipe import Recipe
from aiida_mlfc.core.potentials.training.third_order import third_order
from aiida_mlfc.core.structures.cells import to_phonopy

from ...toy_mirrors import LATTICE, exact_force_constants, labelled, springs

#: a little further than the springs: the last splines before the cutoff are few
LENGTHS = {'pair_cutoff': 5.4, 'triplet_cutoff': 3.0, 'pair_spacing': 0.3, 'triplet_spacing': 0.8}
STRAIN = np.array([[1.0, 0.3, 0.0], [0.3, -0.4, 0.2], [0.0, 0.2, 0.7]])


def random_set(n, size, seed=7):
    """Displacements of all 64 atoms, with forces."""
    primitive = bulk('NaCl', 'zincblende', a=LATTICE)
    supercell = bulk('NaCl', 'zincblende', a=LATTICE, cubic=True) * (2, 2, 2)
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
    assert third_of(random_set(20, 0.003)) is None, 'too small displacements'
    assert third_of(random_set(20, 0.1)) is None, 'too large displacements'
    assert third_of(reference, forces=reference.forces + 0.03 * rng.standard_normal(reference.forces.shape)) is None
    assert third_of(reference, reference.displacements[:0], reference.forces[:0]) is None


def learned(reference):
    torch.manual_seed(0)
    config = DXConfig(species=(11, 17), channels=8, expansion_systems=((11, 17),), **LENGTHS)
    model = DXModel(config).double()
    model.silence()
    model.requires_grad_(False)
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
    assert fit.left < 0.002
