"""Crystals with coordinates that symmetry leaves free, and the cheapest potential that relaxes them."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal

from ...small_systems import SPECIES
from .small_models import MorseIons


@pytest.fixture
def model() -> MorseIons:
    return MorseIons(SPECIES)


@pytest.fixture
def wurtzite() -> Atoms:
    """One free coordinate, u, moved off its equilibrium; hexagonal, P6_3mc."""
    return bulk('NaCl', 'wurtzite', a=4.6, c=7.4, u=0.385)


@pytest.fixture
def rutile() -> Atoms:
    """One free coordinate, x; tetragonal, P4_2/mnm."""
    cell = [5.6, 5.6, 4.2, 90, 90, 90]
    return crystal(('Si', 'Cl'), [(0, 0, 0), (0.3, 0.3, 0)], spacegroup=136, cellpar=cell)


@pytest.fixture
def triclinic() -> Atoms:
    """Nothing but translations; 4 atoms, P1."""
    atoms = bulk('NaCl', 'rocksalt', a=5.64) * (2, 1, 1)
    strain = 0.02 * np.random.default_rng(5).standard_normal((3, 3))
    atoms.set_cell(np.array(atoms.cell) @ (np.eye(3) + strain + strain.T), scale_atoms=True)
    atoms.rattle(0.05, seed=5)
    return atoms
