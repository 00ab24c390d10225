"""Relaxation: forces vanish, the space group stays, and what the potential cannot know is refused."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from aiida_mlfc.core.checkpoint_files import resolve
from aiida_mlfc.core.potentials.derivatives.energy_derivatives import energy_forces
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.registry import load_potential
from aiida_mlfc.core.potentials.relaxation.relax import NotConvergedError, PotentialCalculator, relax
from aiida_mlfc.core.potentials.validity import OutsideTrainingError
from aiida_mlfc.core.structures.symmetry import spacegroup

from ...small_systems import SPECIES, EmbeddedAtoms
from .small_models import Tilted


def test_calculator_is_the_model(model, wurtzite):
    wurtzite.rattle(0.05, seed=3)
    wurtzite.calc = PotentialCalculator(model)
    _, forces = energy_forces(model, build_graph(wurtzite, model.cutoff, SPECIES))
    np.testing.assert_allclose(wurtzite.get_forces(), forces.numpy(), atol=1e-12)
    # stress against strained energies, Voigt order xx yy zz yz xz xy, eV/Å³
    step, numerical = 1e-4, []
    for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * step / 2
            strain[b, a] += sign * step / 2
            strained = wurtzite.copy()
            strained.set_cell(np.array(wurtzite.cell) @ strain, scale_atoms=True)
            strained.calc = PotentialCalculator(model)
            energies.append(strained.get_potential_energy())
        numerical.append((energies[0] - energies[1]) / (2 * step) / wurtzite.get_volume())
    np.testing.assert_allclose(wurtzite.get_stress(), numerical, atol=1e-7)


def test_positions_relax_and_the_cell_stays(model, wurtzite):
    found = relax(wurtzite, model)
    assert found.max_force < 1e-5
    assert found.max_displacement > 1e-3
    assert found.spacegroup_before == found.spacegroup_after == 'P6_3mc (186)'
    assert found.volume_change == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(found.atoms.cell, wurtzite.cell, atol=1e-8)
    assert found.atoms.numbers.tolist() == wurtzite.numbers.tolist()
    _, forces = energy_forces(model, build_graph(found.atoms, model.cutoff, SPECIES))
    assert np.abs(forces.numpy()).max() < 1e-5
    assert found.atoms.calc is None
    assert not found.atoms.constraints


def test_perfect_crystal_takes_no_step(model):
    found = relax(bulk('NaCl', 'rocksalt', a=5.64), model)
    assert found.n_steps == 0
    assert found.max_displacement == pytest.approx(0, abs=1e-12)


def test_cell_and_positions_relax_together(model, rutile):
    found = relax(rutile, model, relax_cell=True)
    assert found.max_force < 1e-6
    assert np.abs(found.stress).max() < 1e-3
    assert abs(found.volume_change) > 1e-3
    assert spacegroup(found.atoms, 1e-6) == 'P4_2/mnm (136)'


def test_symmetry_holds_where_the_potential_would_break_it(model):
    """A saddle: an atom halfway in a double well stays there, because its site says so."""
    atoms = bulk('NaCl', 'rocksalt', a=5.9)
    rough = atoms.copy()
    rough.positions[1] += 2e-5
    assert relax(rough, model, symprec=1e-3).spacegroup_after == 'Fm-3m (225)'


def test_cell_relaxation_needs_stress_labels(wurtzite):
    model = EmbeddedAtoms()
    with pytest.raises(OutsideTrainingError, match='trained on stress'):
        relax(wurtzite, model, relax_cell=True)
    assert relax(wurtzite, model).max_force < 1e-5


def test_displacement_limit(model, wurtzite):
    model.metadata['validity']['max_displacement'] = 1e-3
    with pytest.raises(OutsideTrainingError, match=r'an atom moved during relaxation: .* up to 0\.001 Å'):
        relax(wurtzite, model)


def test_not_converged(model, wurtzite):
    with pytest.raises(NotConvergedError, match=r'after 2 steps the largest force is'):
        relax(wurtzite, model, steps=2)
    with pytest.raises(NotConvergedError, match=r'and stress .* GPa \(wanted 1e-03\)'):
        relax(wurtzite, model, relax_cell=True, smax=1e-3, steps=2)


@pytest.mark.parametrize('values', [{'fmax': 0.0}, {'smax': -1.0}, {'steps': -1}, {'fmax': float('nan')}])
def test_senseless_limits(model, wurtzite, values):
    with pytest.raises(ValueError, match='wanted fmax > 0'):
        relax(wurtzite, model, **values)


@pytest.mark.parametrize('optimizer', ['newton', 'bfgs'])
def test_forces_that_break_the_symmetry_are_reported(model, optimizer):
    """No relaxation within the symmetry removes them: both optimisers give the force of the potential itself."""
    atoms = bulk('NaCl', 'rocksalt', a=5.64)
    with pytest.raises(NotConvergedError, match=r'largest force is 5\.00e-03 eV/Å \(wanted 1e-06\)'):
        relax(atoms, Tilted(model), optimizer=optimizer)


def test_what_comes_in_is_left_alone(model, wurtzite):
    before = wurtzite.positions.copy()
    relax(wurtzite, model)
    np.testing.assert_array_equal(wurtzite.positions, before)
    assert wurtzite.calc is None


def test_displacement_is_relative_to_the_other_atoms(model):
    """Sites written in another cell or shifted as a whole did not move."""
    shifted = bulk('NaCl', 'rocksalt', a=5.64)
    shifted.positions += 10.0
    wrapped = Atoms(shifted.numbers, positions=shifted.positions, cell=shifted.cell, pbc=True)
    wrapped.wrap()
    assert relax(wrapped, model).max_displacement == pytest.approx(0, abs=1e-9)


def test_a_potential_by_its_name_or_file():
    """As everywhere else in the package."""
    silicon = bulk('Si', 'diamond', a=5.43)
    by_model = relax(silicon, load_potential('dx-si'))
    for potential in ('dx-si', resolve('dx-si'), str(resolve('dx-si'))):
        assert relax(silicon, potential).energy == by_model.energy
