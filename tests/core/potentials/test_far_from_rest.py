"""Large displacements: atoms of the potential that ships are driven back, and end where they were."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ase.io import read
from ase.optimize import LBFGS

from aiida_mlfc import load_potential, relax
from aiida_mlfc.core.potentials.derivatives.energy_derivatives import energy_forces
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph

from .unchecked import Unchecked

STRUCTURES = Path(__file__).parents[3] / 'examples' / 'structures'
#: and repetitions of the cell: 48 to 72 atoms
CRYSTALS = {
    'Si_diamond.poscar': (3, 3, 3),
    'NaCl_rocksalt.cif': (3, 3, 3),
    'MgO_rocksalt_conventional.cif': (2, 2, 2),
    'AlN_wurtzite.cif': (3, 3, 2),
    'GaN_wurtzite.cif': (3, 3, 2),
    'ZnTe_zincblende.cif': (3, 3, 3),
    'SiO2_quartz.cif': (2, 2, 2),
    'SnO2_rutile.cif': (2, 2, 2),
}


@pytest.fixture(scope='module')
def demo():
    return load_potential('dx-demo')


def rattled(file, demo, size):
    """The crystal at rest, and displacements of so many Å in each direction."""
    crystal = relax(read(STRUCTURES / file), demo).atoms.repeat(CRYSTALS[file])
    u = size * np.random.default_rng(0).standard_normal(crystal.positions.shape)
    return crystal, u - u.mean(axis=0)


@pytest.mark.parametrize('file', CRYSTALS)
def test_forces_drive_back(demo, file):
    crystal, u = rattled(file, demo, 0.2)
    graph = build_graph(crystal, demo.cutoff + 1.5, demo.species)

    def work(factor):
        moved = graph.with_positions(graph.positions + factor * torch.as_tensor(u))
        return -float((energy_forces(demo, moved)[1].detach() * torch.as_tensor(u)).sum()) / factor

    assert work(1e-3) > 0
    assert 0.5 < work(1.0) / work(1e-3) < 1.5


@pytest.mark.parametrize('file', ['Si_diamond.poscar', 'SiO2_quartz.cif', 'SnO2_rutile.cif'])
def test_atoms_return(demo, file):
    crystal, u = rattled(file, demo, 0.2 / 3**0.5)
    crystal.calc = Unchecked(demo)
    at_rest, positions = crystal.get_potential_energy(), crystal.positions.copy()
    crystal.positions += u
    assert crystal.get_potential_energy() - at_rest > 0.1 * len(crystal)
    assert LBFGS(crystal, logfile=None, maxstep=0.1).run(fmax=0.02, steps=150)
    assert crystal.get_potential_energy() - at_rest == pytest.approx(0, abs=1e-3 * len(crystal))
    moved = crystal.positions - positions
    assert np.linalg.norm(moved - moved.mean(axis=0), axis=1).max() < 0.05
