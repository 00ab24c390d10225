"""Rows and differences as a caller sees them; that they are right is in test_energy_model_contract.py."""

import numpy as np
import pytest
import torch

from aiida_mlfc.core.potentials.derivatives.energy_derivatives import energy_forces
from aiida_mlfc.core.potentials.derivatives.finite_differences import difference_responses
from aiida_mlfc.core.potentials.derivatives.rows import directional_responses
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph

from ...small_systems import SPECIES, EmbeddedAtoms, small_crystals

ATOMS, DIRECTIONS = np.array([1, 0]), np.array([[0, 0.6, 0.8], [1.0, 0, 0]])


@pytest.fixture
def rattled():
    return small_crystals()['rocksalt-rattled']


@pytest.fixture
def graph(rattled):
    return build_graph(rattled, EmbeddedAtoms().cutoff, SPECIES)


def test_responses_are_linear_in_the_direction_and_signed_as_forces(graph):
    model = EmbeddedAtoms()
    along, back = (directional_responses(model, graph, ATOMS, s * DIRECTIONS)[0] for s in (1, -1))
    assert np.abs(along + back).max() == 0
    # An atom is pushed back towards its site in a crystal held together.
    assert (along[0, 1] @ DIRECTIONS[0]) < 0


def test_error_of_differences_is_of_second_order(graph, rattled):
    model = EmbeddedAtoms()
    exact, at_rest = directional_responses(model, graph, ATOMS, DIRECTIONS)
    errors = []
    for distance in (0.02, 0.01):
        approximate, forces = difference_responses(model, rattled, ATOMS, DIRECTIONS, distance=distance)
        np.testing.assert_allclose(forces, at_rest, atol=1e-12)
        errors.append(np.abs(approximate - exact).max())
    assert 3.8 < errors[0] / errors[1] < 4.2


def test_structure_is_left_alone(graph, rattled):
    before = rattled.positions.copy()
    difference_responses(EmbeddedAtoms(), rattled, ATOMS, DIRECTIONS)
    directional_responses(EmbeddedAtoms(), graph, ATOMS, DIRECTIONS)
    assert np.array_equal(rattled.positions, before)
    assert not graph.positions.requires_grad


@pytest.mark.parametrize('distance', [0.0, -0.01])
def test_step_must_be_positive(rattled, distance):
    with pytest.raises(ValueError, match='distance'):
        difference_responses(EmbeddedAtoms(), rattled, ATOMS, DIRECTIONS, distance=distance)


def test_progress(graph, rattled):
    for call in (lambda p: directional_responses(EmbeddedAtoms(), graph, ATOMS, DIRECTIONS, progress=p),
                 lambda p: difference_responses(EmbeddedAtoms(), rattled, ATOMS, DIRECTIONS, progress=p)):
        seen = []
        call(lambda done, total, seen=seen: seen.append((done, total)))
        assert seen == [(1, 2), (2, 2)]


def test_no_direction_still_gives_forces(graph):
    responses, forces = directional_responses(EmbeddedAtoms(), graph, np.empty(0, int), np.empty((0, 3)))
    assert responses.shape == (0, graph.n_atoms, 3)
    np.testing.assert_array_equal(forces, energy_forces(EmbeddedAtoms(), graph)[1])


def test_parameters_are_left_without_gradients(graph):
    model = EmbeddedAtoms()
    with torch.no_grad():
        directional_responses(model, graph, ATOMS, DIRECTIONS)
    assert all(p.grad is None for p in model.parameters())
