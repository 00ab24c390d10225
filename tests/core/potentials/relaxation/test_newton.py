"""Newton steps: few, downhill, away from saddles, and loud where they end."""

import logging

import numpy as np
import pytest
from ase.build import bulk

from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.relaxation import newton
from aiida_mlfc.core.potentials.relaxation.relax import NotConvergedError, relax
from aiida_mlfc.core.potentials.validity import RELAXATION_MARGIN, OutsideTrainingError
from aiida_mlfc.core.structures.symmetry import spacegroup

from .small_models import DoubleWell, ForcesOnly, NotANumber, Stairs


def test_each_step_squares_the_error(model, wurtzite):
    """Through a third of the volume, to 1e-9 eV/Å in a handful of steps."""
    found = relax(wurtzite, model, relax_cell=True, fmax=1e-9, smax=1e-6)
    assert found.volume_change < -0.3
    assert found.optimiser == 'newton'
    assert found.fallback is None
    assert found.n_gradient_evaluations == found.n_steps + 1 <= 10
    assert found.max_force < 1e-9


@pytest.mark.parametrize('relax_cell', [False, True])
def test_same_minimum_as_bfgs(model, wurtzite, rutile, triclinic, relax_cell):
    counts = []
    for atoms in (wurtzite, rutile, triclinic):
        ours = relax(atoms, model, relax_cell=relax_cell)
        theirs = relax(atoms, model, relax_cell=relax_cell, optimizer='bfgs')
        assert theirs.optimiser == 'bfgs'
        assert theirs.fallback is None
        assert theirs.n_hessian_products == 0
        assert ours.energy == pytest.approx(theirs.energy, abs=1e-8)
        assert ours.volume_change == pytest.approx(theirs.volume_change, abs=1e-6)
        np.testing.assert_allclose(ours.stress, theirs.stress, atol=2e-3 if relax_cell else 1e-4)
        assert relax_cell or np.abs(ours.stress).max() > 0.1
        counts.append((ours.n_gradient_evaluations, theirs.n_gradient_evaluations))
        # no rotation of the lattice on the way: the net deformation is a symmetric matrix
        deformation = np.linalg.solve(np.array(atoms.cell), np.array(ours.atoms.cell))
        np.testing.assert_allclose(deformation, deformation.T, atol=1e-10)
    ours, theirs = np.sum(counts, axis=0)
    assert ours < 0.3 * theirs


def test_large_spaces_need_no_full_hessian(model, triclinic, monkeypatch):
    full = relax(triclinic, model, relax_cell=True)
    monkeypatch.setattr(newton, 'FULL_HESSIAN_SIZE', 0)
    krylov = relax(triclinic, model, relax_cell=True)
    assert krylov.energy == pytest.approx(full.energy, abs=1e-9)
    assert krylov.max_force < 1e-6
    assert 0 < krylov.n_hessian_products < 15 * krylov.n_steps


@pytest.mark.parametrize('full_size', [0, 100])
def test_a_symmetric_saddle_is_left(model, wurtzite, monkeypatch, full_size):
    monkeypatch.setattr(newton, 'FULL_HESSIAN_SIZE', full_size)
    top = relax(wurtzite, model, fmax=1e-10)
    well = DoubleWell(model)
    well.level = top.energy + 0.02
    assert relax(top.atoms, well, optimizer='bfgs').n_steps == 0
    found = relax(top.atoms, well)
    assert found.n_steps > 0
    assert found.max_displacement > 0.01
    # at the bottom E is the level
    graph = build_graph(found.atoms, model.cutoff, model.species)
    assert float(model(graph).detach()) == pytest.approx(well.level, abs=1e-6)
    assert found.spacegroup_after == 'P6_3mc (186)'


def test_saddles_that_symmetry_forbids_to_leave_stay(model):
    """Planar wurtzite (P6_3/mmc): along u it is a maximum, but u is no coordinate of its space group."""
    flat = bulk('NaCl', 'wurtzite', a=4.6, c=7.4, u=0.5)
    assert spacegroup(flat, 1e-5) == 'P6_3/mmc (194)'
    found = relax(flat, model)
    assert found.spacegroup_after == 'P6_3/mmc (194)'
    assert found.n_steps == 0


def test_without_second_derivatives_bfgs_takes_over_loudly(model, wurtzite, caplog):
    with caplog.at_level(logging.WARNING):
        found = relax(wurtzite, ForcesOnly(model), relax_cell=True)
    assert found.optimiser == 'bfgs'
    assert 'derivative is not implemented' in found.fallback
    assert found.fallback in caplog.text
    assert found.n_hessian_products > 0
    assert found.max_force < 1e-6
    assert found.energy == pytest.approx(relax(wurtzite, model, relax_cell=True).energy, abs=1e-8)


def test_energy_that_contradicts_its_forces(model, wurtzite):
    """Stairs stop the trust region, not BFGS, which looks at forces only."""
    found = relax(wurtzite, Stairs(model), relax_cell=True)
    assert found.optimiser == 'bfgs'
    assert 'contradict each other' in found.fallback
    assert found.max_force < 1e-6


def test_float32_stops_where_its_rounding_is(model, wurtzite):
    single = model.float()
    assert relax(wurtzite, single, fmax=1e-4).optimiser == 'newton'
    with pytest.raises(NotConvergedError, match='largest force'):
        relax(wurtzite, single, fmax=1e-9, steps=30)


def test_energy_that_is_not_a_number(model, wurtzite):
    with pytest.raises(NotConvergedError, match='not finite'):
        relax(wurtzite, NotANumber(model))


def test_long_steps_turn_back_at_the_limit_of_training(model, wurtzite):
    """A limit that the way passes and the end does not: reached by shorter steps; one that the end passes: refused."""
    end = relax(wurtzite, model).max_displacement
    model.metadata['validity']['max_displacement'] = 1.001 * end / RELAXATION_MARGIN
    assert relax(wurtzite, model).max_force < 1e-6
    model.metadata['validity']['max_displacement'] = 0.9 * end / RELAXATION_MARGIN
    with pytest.raises(OutsideTrainingError, match='an atom moved during relaxation'):
        relax(wurtzite, model)
