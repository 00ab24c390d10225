"""Many crystals at once give what each gives alone, and one that fails takes no other with it."""

import logging

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from aiida_mlfc.core.potentials.relaxation.relax import NotConvergedError, Relaxation, relax, relax_many
from aiida_mlfc.core.structures.checks import StructureError, UnknownSpeciesError

from .small_models import ForcesOnly, NoMemory, Remembered


@pytest.mark.parametrize('max_edges', [1, 400, 100_000])
def test_together_as_alone(model, wurtzite, rutile, triclinic, max_edges):
    crystals = [triclinic, wurtzite, rutile, bulk('NaCl', 'rocksalt', a=5.9)]
    found = relax_many(crystals, model, relax_cell=True, max_edges=max_edges)
    for atoms, together in zip(crystals, found, strict=True):
        alone = relax(atoms, model, relax_cell=True)
        assert isinstance(together, Relaxation)
        assert together.energy == pytest.approx(alone.energy, abs=1e-10)
        np.testing.assert_allclose(together.atoms.positions, alone.atoms.positions, atol=1e-8)
        counts = (together.n_steps, together.n_gradient_evaluations, together.n_hessian_products)
        assert counts == (alone.n_steps, alone.n_gradient_evaluations, alone.n_hessian_products)


def test_failures_stay_alone(model, wurtzite):
    unknown = bulk('Cu')
    overlapping = Atoms('NaCl', positions=[[0, 0, 0], [0, 0, 1e-4]], cell=[5, 5, 5], pbc=True)
    found = relax_many([unknown, wurtzite, overlapping], model)
    assert isinstance(found[0], UnknownSpeciesError)
    assert isinstance(found[1], Relaxation)
    assert isinstance(found[2], ValueError)
    assert relax_many([], model) == []


def test_symmetry_that_is_found_and_cannot_be_imposed_stays_alone(model, wurtzite):
    """Two atoms on almost one site: spglib sees a space group at 1e-5 Å, and raises where ASE asks again at 1e-4 Å."""
    nearly = Atoms('Na2', positions=[[0, 0, 0], [0, 0, 5e-5]], cell=[5, 5, 5], pbc=True)
    found = relax_many([wurtzite, nearly], model)
    assert isinstance(found[0], Relaxation)
    assert isinstance(found[1], StructureError)
    assert 'too close distance' in str(found[1])


def test_steps_are_counted_for_each(model, wurtzite):
    easy = bulk('NaCl', 'rocksalt', a=5.64)
    found = relax_many([wurtzite, easy], model, steps=1)
    assert isinstance(found[0], NotConvergedError)
    assert isinstance(found[1], Relaxation)


def test_what_fails_together_is_tried_by_halves(model, wurtzite, rutile, caplog):
    with caplog.at_level(logging.WARNING):
        found = relax_many([wurtzite, rutile, wurtzite], NoMemory(model), max_edges=100_000)
    assert 'trying it by halves: out of memory' in caplog.text
    assert found[0].energy == pytest.approx(relax(wurtzite, model).energy)
    assert isinstance(found[1], RuntimeError)
    assert found[2].energy == pytest.approx(found[0].energy)


def test_products_that_fail_together(model, wurtzite, rutile):
    """Every one of them falls back, each with its own record."""
    found = relax_many([wurtzite, rutile], ForcesOnly(model), max_edges=100_000)
    assert [r.optimiser for r in found] == ['bfgs', 'bfgs']
    assert all('derivative is not implemented' in r.fallback for r in found)


@pytest.mark.parametrize(('refusing', 'most'), [(NoMemory, 0), (ForcesOnly, 1)])
def test_nothing_of_a_failed_batch_is_left_when_its_halves_are_tried(model, wurtzite, rutile, refusing, most):
    """Refused energies and refused products; on a GPU what is left would refuse the halves their memory, too.

    Of a backward pass that failed something is there until the next one is done, whoever holds it: the last at most.
    """
    remembered = Remembered(refusing(model))
    relax_many([wurtzite, rutile, wurtzite], remembered, max_edges=100_000)
    assert len(remembered.still_there) > 3
    assert max(remembered.still_there) == most
