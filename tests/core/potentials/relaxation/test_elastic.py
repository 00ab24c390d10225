"""Elastic constants: against energies of strained crystals whose atoms were relaxed, and what symmetry says."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from aiida_mlfc.core.potentials.derivatives.energy_derivatives import energy_forces
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.relaxation.elastic import VOIGT, elastic_constants
from aiida_mlfc.core.potentials.relaxation.relax import relax
from aiida_mlfc.core.units import EV_PER_CUBIC_ANGSTROM_IN_GPA

from ...small_systems import EmbeddedAtoms


@pytest.fixture(scope='module')
def model():
    from aiida_mlfc.core.potentials.validity import HAS_STRESS

    found = EmbeddedAtoms().requires_grad_(False)
    found.metadata = {'validity': {HAS_STRESS: True}}
    return found


@pytest.fixture(scope='module')
def low() -> Atoms:
    """Three atoms of two kinds without any symmetry."""
    return Atoms('NaClNa', scaled_positions=[[0, 0, 0], [0.48, 0.5, 0.05], [0.1, 0.42, 0.55]],
                 cell=[[3.9, 0, 0.2], [0.4, 4.2, 0], [0, 0.3, 4.5]], pbc=True)  # fmt: skip


def model_energy(atoms: Atoms, model) -> float:
    return float(energy_forces(model, build_graph(atoms, model.cutoff, model.species))[0][0])


def strained(atoms: Atoms, strain: np.ndarray) -> Atoms:
    moved = atoms.copy()
    moved.set_cell(np.array(atoms.cell) @ (np.eye(3) + strain), scale_atoms=True)
    return moved


def test_of_relaxed_ions(model, low):
    """Second differences of the energy of strained crystals whose atoms were relaxed."""
    rest = relax(low, model, fmax=1e-9)
    found = elastic_constants(rest.atoms, model)
    rng = np.random.default_rng(1)
    for _ in range(6):
        voigt = rng.standard_normal(6)
        strain = np.zeros((3, 3))
        for size, (i, j) in zip(voigt, VOIGT, strict=True):
            strain[i, j] += size / 2
            strain[j, i] += size / 2
        seconds = []
        for h in (1e-3, 2e-3):
            plus, minus = (relax(strained(rest.atoms, s * h * strain), model, fmax=1e-9).energy for s in (1, -1))
            seconds.append((plus + minus - 2 * rest.energy) / h**2)
        expected = (4 * seconds[0] - seconds[1]) / 3 / rest.atoms.get_volume() * EV_PER_CUBIC_ANGSTROM_IN_GPA
        assert voigt @ found @ voigt == pytest.approx(expected, rel=1e-4, abs=1e-4 * np.abs(found).max())


def test_ions_that_follow_make_it_softer(model, low):
    rest = relax(low, model, fmax=1e-9).atoms
    strain, h = np.diag([1.0, 0, 0]), 1e-3
    energies = [model_energy(strained(rest, s * h * strain), model) for s in (1, 0, -1)]
    clamped = (energies[0] + energies[2] - 2 * energies[1]) / h**2 / rest.get_volume() * EV_PER_CUBIC_ANGSTROM_IN_GPA
    assert elastic_constants(rest, model)[0, 0] < clamped - 1e-3


def test_of_a_cube(model):
    """C11, C12 and C44, and nothing else."""
    found = elastic_constants(bulk('NaCl', 'rocksalt', 5.5), model)
    c11, c12, c44 = found[0, 0], found[0, 1], found[3, 3]
    expected = np.diag([c11 - c12] * 3 + [c44] * 3)
    expected[:3, :3] += c12
    assert np.allclose(found, expected, rtol=0, atol=1e-8 * np.abs(found).max())
    assert abs(c44) > 0.1


def test_a_supercell_has_those_of_its_crystal(model):
    crystal = bulk('NaCl', 'zincblende', 5.2)
    found = elastic_constants(crystal.repeat((2, 1, 1)), model)
    assert np.allclose(found, elastic_constants(crystal, model), rtol=0, atol=1e-6 * np.abs(found).max())
