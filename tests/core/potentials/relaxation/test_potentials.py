"""What ships, and MatterSim's architecture, reach the default goal from strained crystals, whatever the cell."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.io import read

from aiida_mlfc import load_potential, relax
from aiida_mlfc.core.structures.symmetry import spacegroup, symmetrized

from ..mattersim.reference_values import TOY

STRUCTURES = Path(__file__).parents[4] / 'examples' / 'structures'
SYMPREC = 1e-4


@pytest.fixture(scope='module')
def demo():
    return load_potential('dx-demo')


def stretched(atoms, size):
    """Longer along c, shorter normal to it or the same in all directions: within the symmetry of all crystals below."""
    exact = symmetrized(atoms, SYMPREC)
    cubic = spacegroup(exact, SYMPREC) in ('Fd-3m (227)', 'Fm-3m (225)', 'F-43m (216)')
    strain = np.eye(3) if cubic else np.diag([-0.5, -0.5, 1.0])
    exact.set_cell(np.array(exact.cell) @ (np.eye(3) + size * strain), scale_atoms=True)
    return exact


@pytest.mark.parametrize(
    ('file', 'group'),
    [
        ('Si_diamond.poscar', 'Fd-3m (227)'),
        ('NaCl_rocksalt.cif', 'Fm-3m (225)'),
        ('MgO_rocksalt_conventional.cif', 'Fm-3m (225)'),
        ('ZnTe_zincblende.cif', 'F-43m (216)'),
        ('AlN_wurtzite.cif', 'P6_3mc (186)'),
        ('GaN_wurtzite.cif', 'P6_3mc (186)'),
        ('SnO2_rutile.cif', 'P4_2/mnm (136)'),
        ('SiO2_quartz.cif', 'P3_121 (152)'),
    ],
)
def test_crystals_of_the_demo(demo, file, group):
    found = relax(stretched(read(STRUCTURES / file), 0.015), demo, relax_cell=True, symprec=SYMPREC)
    assert (found.optimiser, found.fallback) == ('newton', None)
    assert found.max_force < 1e-6
    assert np.abs(found.stress).max() < 1e-3
    assert found.n_gradient_evaluations <= 7
    assert spacegroup(found.atoms, 1e-8) == group


def test_triclinic_silicon_finds_back_to_diamond():
    toy = load_potential(TOY)
    strain = np.random.default_rng(2).standard_normal((3, 3))
    atoms = bulk('Si', 'diamond', 5.43)
    atoms.set_cell(np.array(atoms.cell) @ (np.eye(3) + 0.01 * (strain + strain.T)), scale_atoms=True)
    assert spacegroup(atoms, SYMPREC) == 'P-1 (2)'
    found = relax(atoms, toy, relax_cell=True)
    diamond = relax(bulk('Si', 'diamond', 5.3), toy, relax_cell=True)
    assert found.n_gradient_evaluations <= 7
    assert found.energy == pytest.approx(diamond.energy, abs=1e-10)
    assert spacegroup(found.atoms, 1e-5) == 'Fd-3m (227)'
