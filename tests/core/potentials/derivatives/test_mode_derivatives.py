"""Third derivatives against extrapolated differences of exact second ones, and against a volume scan."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from aiida_mlfc import dynamical_matrices, gruneisen_parameters
from aiida_mlfc.core.potentials.derivatives.mode_derivatives import mode_derivatives
from aiida_mlfc.core.potentials.derivatives.qspace import bloch_force_constants
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.mattersim.weights import load_mattersim
from aiida_mlfc.core.potentials.validity import HAS_STRESS, OutsideTrainingError
from aiida_mlfc.core.structures.cells import to_phonopy
from aiida_mlfc.runner.bloch_phases import frequencies

from ...small_systems import EmbeddedAtoms, small_crystals, small_dx
from ..mattersim.reference_values import TINY

#: nowhere near a mesh, no symmetry
GENERAL = np.array([0.137, 0.211, -0.373])
#: so small that no distance passes 4.0, 4.4 or 5.0 Å, where third derivatives jump: one is 8e-4 Å from there
STEPS = (1e-4, 5e-5)
MODELS = {
    'embedded': EmbeddedAtoms,
    'dx': lambda: small_dx(n_layers=1),
    'mattersim': lambda: load_mattersim(TINY, torch.float64),
}


@pytest.fixture(scope='module')
def triclinic():
    return small_crystals()['rocksalt-rattled']


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


def graph_of(model, atoms):
    return build_graph(atoms, model.cutoff, model.species)


def squares(model, graph, masses):
    (phi,) = bloch_force_constants(model, graph, GENERAL[None])
    roots = np.sqrt(masses).repeat(3)
    return np.linalg.eigvalsh((phi + phi.conj().T) / 2 / np.outer(roots, roots))


def extrapolated(function):
    """Richardson's central difference of ``function(h)`` at zero."""
    slow, fast = ((function(h) - function(-h)) / (2 * h) for h in STEPS)
    return (4 * fast - slow) / 3


def strained(atoms: Atoms, strain: np.ndarray) -> Atoms:
    """x -> x (1 + strain), not wrapped."""
    moved = atoms.copy()
    moved.set_cell(np.array(atoms.cell) @ (np.eye(3) + strain), scale_atoms=False)
    moved.positions = atoms.positions @ (np.eye(3) + strain)
    return moved


def test_strain(model, triclinic):
    masses = triclinic.get_masses()
    found = mode_derivatives(model, graph_of(model, triclinic), masses, GENERAL)
    assert (found.positions, found.atom_types) == (None, None)
    assert found.blocks.tolist() == list(range(12))
    np.testing.assert_allclose(found.squares, squares(model, graph_of(model, triclinic), masses), rtol=0, atol=1e-14)
    # Rotation and shear are both in [0, 1]; a rotation alone must change nothing.
    for direction in (np.eye(3), np.outer([1, 0, 0], [0, 1, 0]), np.diag([0, 1.0, 0])):
        expected = extrapolated(
            lambda h, u=direction: squares(model, graph_of(model, strained(triclinic, h * u)), masses)
        )
        assert np.abs(expected).max() > 1e-3
        np.testing.assert_allclose((found.strain * direction).sum((1, 2)), expected, rtol=0, atol=1e-8)
    np.testing.assert_allclose(found.strain, found.strain.transpose(0, 2, 1), rtol=0, atol=1e-12)


def test_positions_and_species(model, triclinic):
    masses, graph = triclinic.get_masses(), graph_of(model, triclinic)
    found = mode_derivatives(model, graph, masses, GENERAL, ('atom_types', 'positions'))
    assert found.strain is None
    rng = np.random.default_rng(0)
    for name in ('positions', 'atom_types'):
        values = getattr(graph, name)
        direction = torch.as_tensor(rng.standard_normal(tuple(values.shape)))
        expected = extrapolated(
            lambda h, name=name, values=values, u=direction: squares(
                model, replace(graph, **{name: values + h * u}), masses
            )
        )
        assert np.abs(expected).max() > 1e-3
        derivatives = getattr(found, name)
        assert derivatives.shape == (12, *values.shape)
        np.testing.assert_allclose((derivatives * direction.numpy()).sum((1, 2)), expected, rtol=0, atol=1e-7)
    # Moving all atoms alike changes nothing.
    assert np.abs(found.positions.sum(axis=1)).max() < 1e-11


def test_degenerate_modes_carry_the_mean_of_their_block():
    """Along Γ-X transverse modes are pairs; volume splits none of them."""
    model, atoms = EmbeddedAtoms(), bulk('Si', 'diamond', a=5.43)
    masses, q = to_phonopy(atoms).masses, np.array([0.2, 0, 0.2])
    found = mode_derivatives(model, graph_of(model, atoms), masses, q)
    sizes = np.bincount(found.blocks)
    assert sorted(sizes.tolist()) == [1, 1, 2, 2]
    for block in np.flatnonzero(sizes == 2):
        first, second = found.strain[found.blocks == block]
        assert np.array_equal(first, second)

    def at(h):
        (matrix,) = dynamical_matrices(strained(atoms, h * np.eye(3)), q, model)
        return np.linalg.eigvalsh(matrix)

    traces = np.trace(found.strain, axis1=1, axis2=2)
    np.testing.assert_allclose(traces, extrapolated(at), rtol=0, atol=1e-8)


@pytest.mark.parametrize('wrt', [(), ('volume',)])
def test_unknown_variables_are_named(triclinic, wrt):
    model = EmbeddedAtoms()
    with pytest.raises(ValueError, match='wrt'):
        mode_derivatives(model, graph_of(model, triclinic), triclinic.get_masses(), GENERAL, wrt)


@pytest.mark.parametrize('name', ['diamond', 'rocksalt-rattled'])
def test_gruneisen_parameters_equal_a_volume_scan(model, name):
    atoms = small_crystals()[name]
    model.metadata = {'validity': {HAS_STRESS: True}}
    qpoints = np.array([GENERAL, [0.5, 0, 0], [0, 0, 0]])
    found, gamma = gruneisen_parameters(atoms, qpoints, model)
    np.testing.assert_allclose(found, frequencies(dynamical_matrices(atoms, qpoints, model)), rtol=0, atol=1e-6)

    def scanned(h):
        return frequencies(dynamical_matrices(strained(atoms, h * np.eye(3)), qpoints, model))

    # d ln V = 3 dε; near zero the logarithm is too steep for differences
    is_large = np.abs(found) > 0.3
    assert is_large.sum() > found.size / 2
    expected = -extrapolated(scanned)[is_large] / (3 * found[is_large])
    np.testing.assert_allclose(gamma[is_large], expected, rtol=1e-5, atol=1e-5)
    acoustic = np.isnan(gamma)
    assert acoustic[:2].sum() == 0
    assert acoustic[2].sum() == 3


def test_gruneisen_parameters_need_stress_and_qpoints(silicon):
    with pytest.raises(OutsideTrainingError, match='Grüneisen'):
        gruneisen_parameters(silicon, [0.1, 0, 0], EmbeddedAtoms())
    with pytest.raises(ValueError, match='qpoints'):
        gruneisen_parameters(silicon, [0.1, 0], EmbeddedAtoms())
