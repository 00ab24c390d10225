"""Second derivatives are those of the official forces, where official autograd is wrong as well."""

import numpy as np
import pytest
import torch
from ase.build import bulk

from aiida_mlfc.core.potentials.derivatives.energy_derivatives import energy_forces, hvp
from aiida_mlfc.core.potentials.derivatives.finite_differences import difference_responses
from aiida_mlfc.core.potentials.derivatives.rows import directional_responses
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.mattersim.weights import load_mattersim

from .reference_values import GOLDEN, MODELS, TINY, crystal, golden, model_of, official_three_body_sums

STRUCTURES = ('si_rattled_8', 'mgo_rocksalt_8', 'al_fcc_4')


def rows_of_first_atom(model, atoms):
    """Shape (3, n_atoms, 3), eV/Å²."""
    graph = build_graph(atoms, model.cutoff, model.species)
    return -directional_responses(model, graph, np.zeros(3, dtype=int), np.eye(3))[0]


def relative_error(rows, expected):
    return np.abs(rows - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize('structure', STRUCTURES)
@pytest.mark.parametrize('name', MODELS)
def test_rows(name, structure):
    expected = golden('hessian')['models'][name][structure]['richardson']
    rows = rows_of_first_atom(model_of(name), crystal(structure, 'hessian'))
    assert relative_error(rows, np.array(expected)) < (1e-8 if structure == 'si_rattled_8' else 2e-6)
    assert np.abs(rows.sum(1)).max() < 1e-12 * np.abs(rows).max() * rows.shape[1]


@pytest.mark.parametrize('structure', STRUCTURES)
def test_the_official_defect(structure):
    """The same model with the official clamp and arccos: wrong where atoms are on a line, and only the rows show it."""
    expected = golden('hessian')['models']['tiny-random'][structure]
    clamped = load_mattersim(TINY)
    clamped.three_body_sums = official_three_body_sums(clamped, clamp=True)
    atoms = crystal(structure, 'hessian')
    rows = rows_of_first_atom(clamped, atoms)
    assert relative_error(rows, np.array(expected['official_autograd'])) < 1e-9
    error = relative_error(rows, np.array(expected['richardson']))
    assert error == pytest.approx(expected['relative_difference'], rel=1e-3, abs=1e-11)
    if structure == 'mgo_rocksalt_8':
        assert error > 0.1
        graph = build_graph(atoms, clamped.cutoff, clamped.species)
        _, ours = energy_forces(model_of('tiny-random'), graph)
        _, theirs = energy_forces(clamped, graph)
        # Neither forces nor the sum rule see it.
        assert (ours - theirs).abs().max() < 1e-10
        assert np.abs(rows.sum(1)).max() < 1e-13


@pytest.mark.parametrize('structure', ['mgo_rocksalt_8', 'triclinic_6'])
def test_addition_theorem_is_the_sum_over_triplets(structure):
    model = model_of('tiny-random')
    graph = build_graph(crystal(structure, 'hessian' if 'rocksalt' in structure else 'golden'), 5.0, model.species)
    vectors = graph.edge_vectors()
    distances = vectors.norm(dim=1)
    arguments = (vectors / distances[:, None], distances, graph)
    ours, theirs = model.three_body_sums(*arguments), official_three_body_sums(model, clamp=False)(*arguments)
    assert theirs.abs().max() > 0.01
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-13)


@pytest.mark.parametrize('atoms', [
    bulk('NaCl', 'rocksalt', a=5.55), bulk('Al', 'fcc', a=4.12), bulk('Fe', 'bcc', a=2.87), bulk('Si', a=5.43),
    crystal('triclinic_6'),
], ids=['rocksalt', 'fcc', 'bcc', 'diamond', 'rattled'])  # fmt: skip
def test_rows_are_extrapolated_differences_of_our_forces(atoms):
    """Crystals without a golden row; no distance lies within 0.02 Å of 4 Å or 5 Å."""
    model = model_of('tiny-random')
    # One atom alone moves nothing: two make the row.
    atoms = atoms * (2, 1, 1) if len(atoms) == 1 else atoms
    index, direction = np.array([0]), np.array([[0.6, 0.0, 0.8]])

    def difference(step):
        return difference_responses(model, atoms, index, direction, distance=step)[0]

    d1, d2, d4 = difference(0.01), difference(0.005), difference(0.0025)
    first, second = (4 * d2 - d1) / 3, (4 * d4 - d2) / 3
    rows, _ = directional_responses(model, build_graph(atoms, 5.0, model.species), index, direction)
    assert relative_error(rows, (16 * second - first) / 15) < 2e-6


def test_float32_rows_of_collinear_crystals():
    atoms = crystal('mgo_rocksalt_8', 'hessian')
    expected = np.array(golden('hessian')['models']['tiny-random']['mgo_rocksalt_8']['richardson'])
    model = load_mattersim(GOLDEN / 'tiny-random.pth', torch.float32)
    graph = build_graph(atoms, model.cutoff, model.species, torch.float32)
    unit = torch.zeros(len(atoms), 3)
    unit[0, 0] = 1
    assert relative_error(hvp(model, graph, unit).numpy(), expected[0]) < 2e-5
