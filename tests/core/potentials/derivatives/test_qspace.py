"""Φ(q) of the primitive cell against supercells, which know nothing of Bloch phases, and against its own identities."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from aiida_mlfc.core.potentials.derivatives.energy_derivatives import energy_forces, hvp
from aiida_mlfc.core.potentials.derivatives.phased_gather import BlochGraph
from aiida_mlfc.core.potentials.derivatives.qspace import BlochForceConstants, bloch_force_constants
from aiida_mlfc.core.potentials.derivatives.rows import directional_responses
from aiida_mlfc.core.potentials.graphs.batching import concatenate
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.mattersim.energy_gradients import within_cutoff
from aiida_mlfc.core.potentials.mattersim.weights import load_mattersim
from aiida_mlfc.core.structures.symmetry import spacegroup
from aiida_mlfc.runner.force_constants import compute_force_constants

from ...small_systems import EmbeddedAtoms, small_crystals, small_dx
from ..mattersim.reference_values import TINY

#: nowhere near a mesh, no symmetry
GENERAL = np.array([0.137, 0.211, -0.373])
RECIPROCAL = np.array([1, -2, 3])
#: commensurate with 3 x 2 x 2
COMMENSURATE = np.array([[0, 0, 0], [0, 0.5, 0.5], [1 / 3, 0.5, 0], [-2 / 3, 0, 0.5]])
MODELS = ('embedded', 'dx', 'mattersim')
CRYSTALS = ('diamond', 'rocksalt', 'rocksalt-rattled')


@pytest.fixture(scope='module')
def models():
    return {
        'embedded': EmbeddedAtoms(),
        'dx': small_dx(n_layers=1),
        'mattersim': load_mattersim(TINY, torch.float64),
    }


@pytest.fixture(scope='module')
def crystals():
    return small_crystals()


@pytest.fixture(params=MODELS)
def model(request, models):
    return models[request.param]


@pytest.fixture
def triclinic(crystals):
    atoms = crystals['rocksalt-rattled']
    assert spacegroup(atoms) == 'P1 (1)'
    return atoms


def graph_of(model, atoms):
    return build_graph(atoms, model.cutoff, model.species)


def from_supercell(model, atoms: Atoms, repeats: tuple[int, int, int], qpoints: np.ndarray) -> np.ndarray:
    """Σ_S Φ(i 0; j S) exp(2πi q·S) of the exact Hessian rows of a supercell, right at commensurate q."""
    n, n_cells = len(atoms), int(np.prod(repeats))
    displaced = np.arange(n).repeat(3)
    responses, _ = directional_responses(
        model, graph_of(model, atoms * repeats), displaced, np.tile(np.eye(3), (n, 1))
    )
    # ASE repeats the last axis fastest; -responses[iα, (S j), β]
    cells = np.stack(np.meshgrid(*map(np.arange, repeats), indexing='ij'), -1).reshape(-1, 3)
    phases = np.exp(2j * np.pi * qpoints @ cells.T)
    return np.einsum('qs,xsy->qxy', phases, -responses.reshape(3 * n, n_cells, 3 * n))


@pytest.mark.parametrize('name', CRYSTALS)
def test_equals_supercell_at_commensurate_q(model, crystals, name):
    atoms = crystals[name]
    exact = bloch_force_constants(model, graph_of(model, atoms), COMMENSURATE)
    folded = from_supercell(model, atoms, (3, 2, 2), COMMENSURATE)
    assert np.abs(folded).max() > 0.1
    assert np.abs(folded[2].imag).max() > 1e-3
    np.testing.assert_allclose(exact, folded, rtol=0, atol=1e-12)


def test_forces_need_not_vanish(model, triclinic):
    graph = graph_of(model, triclinic)
    forces = energy_forces(model, graph)[1]
    assert forces.abs().max() > 1e-2
    torch.testing.assert_close(BlochForceConstants(model, graph).gradient, -forces, rtol=0, atol=1e-14)


def test_is_hermitian_before_any_averaging(model, triclinic):
    (phi,) = bloch_force_constants(model, graph_of(model, triclinic), GENERAL[None])
    assert np.abs(phi.imag).max() > 1e-2
    assert np.abs(phi - phi.conj().T).max() < 1e-14 * max(1, np.abs(phi).max())


def test_opposite_q_is_the_conjugate_and_reciprocal_vectors_change_nothing(model, triclinic):
    graph = graph_of(model, triclinic)
    phi, opposite, shifted = (
        bloch_force_constants(model, graph, q[None])[0] for q in (GENERAL, -GENERAL, GENERAL + RECIPROCAL)
    )
    np.testing.assert_allclose(opposite, phi.conj(), rtol=0, atol=1e-13)
    np.testing.assert_allclose(shifted, phi, rtol=0, atol=1e-13)
    # Computed once, then copied or conjugated.
    counts = []
    asked = np.array([GENERAL, -GENERAL, GENERAL + RECIPROCAL, [0.5, 0, 0], [-0.5, 0, 0]])
    together = bloch_force_constants(model, graph, asked, progress=lambda *count: counts.append(count))
    assert counts[-1] == (2 * 3 * len(triclinic),) * 2
    np.testing.assert_allclose(together[:3], [phi, opposite, shifted], rtol=0, atol=1e-13)
    assert np.array_equal(together[3], together[4])


def test_gamma_is_the_hessian_of_the_cell_and_has_three_zero_modes(model, triclinic):
    graph = graph_of(model, triclinic)
    (phi,) = bloch_force_constants(model, graph, np.zeros((1, 3)))
    assert np.array_equal(phi.imag, np.zeros_like(phi.real))
    columns = [hvp(model, graph, unit.view(-1, 3)).flatten() for unit in torch.eye(len(phi), dtype=torch.float64)]
    np.testing.assert_allclose(phi.real, torch.stack(columns, 1), rtol=0, atol=1e-13)
    eigenvalues = np.sort(np.abs(np.linalg.eigvalsh(phi.real)))
    assert eigenvalues[2] < 1e-13
    assert eigenvalues[3] > 1e-4


def test_off_the_mesh_it_is_the_limit_of_ever_larger_supercells(models):
    """Interpolation from few cells is wrong between its mesh points; once the cell holds the interaction it is not."""
    model, atoms = models['embedded'], bulk('Si', 'diamond', a=5.43)
    (phi,) = bloch_force_constants(model, graph_of(model, atoms), GENERAL[None])
    phases = np.exp(2j * np.pi * atoms.get_scaled_positions(wrap=False) @ GENERAL).repeat(3)
    exact = phases.conj()[:, None] * phi * phases
    errors = []
    for n in (2, 3, 5):
        found = compute_force_constants(atoms, [n, n, n], model, primitive_matrix=np.eye(3), engine='rows')
        phonon = found.to_phonopy()
        phonon.dynamical_matrix.run(GENERAL)
        mass = phonon.primitive.masses[0]
        errors.append(np.abs(phonon.dynamical_matrix.dynamical_matrix * mass - exact).max())
    assert errors[0] > 3 * errors[1] > 1e-4
    assert errors[2] < 1e-12


def test_batches_and_lanes_change_nothing(model, triclinic):
    """One by one, all at once, one column at a time, and real q-points on one lane or on two."""
    graph = graph_of(model, triclinic)
    qpoints = np.array([GENERAL, [0.5, 0, 0.5], [0.1, 0.2, 0.3]])
    together = bloch_force_constants(model, graph, qpoints)
    one_by_one = np.concatenate([bloch_force_constants(model, graph, q[None]) for q in qpoints])
    np.testing.assert_allclose(together, one_by_one, rtol=0, atol=1e-14)
    seen = []
    smallest = bloch_force_constants(
        model, graph, qpoints, max_memory=1, progress=lambda done, total: seen.append((done, total))
    )
    np.testing.assert_allclose(smallest, together, rtol=0, atol=1e-14)
    assert seen == [(k + 1, 9 * len(triclinic)) for k in range(9 * len(triclinic))]
    engine = BlochForceConstants(model, graph)
    first, mixed = torch.tensor(qpoints[[1, 1]]), torch.tensor(qpoints[[1, 0]])
    units = torch.eye(3 * len(triclinic), dtype=torch.float64)[[4, 4]]
    on_one, on_two = (engine.products(q, units) for q in (first, mixed))
    assert torch.equal(on_one.imag, torch.zeros_like(on_one.real))
    torch.testing.assert_close(on_one[0], on_two[0], rtol=0, atol=1e-14)
    np.testing.assert_allclose(on_two[1], together[0][:, 4], rtol=0, atol=1e-14)


def test_batch_is_what_memory_allows(models, crystals):
    engine = BlochForceConstants(models['dx'], graph_of(models['dx'], crystals['diamond']))
    double = BlochForceConstants(models['dx'], graph_of(models['dx'], crystals['diamond'] * (1, 1, 2)))
    assert 1.8 < double.bytes_of_lane / engine.bytes_of_lane < 2.2
    # Two lanes a column.
    assert engine.batch_size(20.5 * engine.bytes_of_lane) == 10
    assert engine.batch_size(0) == 1
    assert engine.batch_size() > 10


def test_phases_are_seen_from_other_threads(models, triclinic):
    """CUDA runs backward passes in threads of autograd's own: a flag in thread-local storage would be lost there."""
    model = models['mattersim']
    engine = BlochForceConstants(model, graph_of(model, triclinic))
    q, fields = torch.tensor(GENERAL).expand(3, 3), torch.eye(3 * len(triclinic), dtype=torch.float64)[:3]
    here = engine.products(q, fields)
    found = []
    vmap = torch.vmap

    def in_a_thread(function):
        def call(*args):
            thread = threading.Thread(target=lambda: found.append(vmap(function)(*args)))
            thread.start()
            thread.join()
            return found[-1]

        return call

    # The phases are set in this thread, the backward pass runs in another.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, 'vmap', in_a_thread)
        there = engine.products(q, fields)
    assert len(found) == 1
    assert here.imag.abs().max() > 1e-2
    assert torch.equal(there, here)


def test_calculations_in_parallel_do_not_mix(models, triclinic):
    model = models['embedded']
    graph = graph_of(model, triclinic)
    qpoints = np.random.default_rng(0).uniform(-0.5, 0.5, (12, 3))
    alone = [bloch_force_constants(model, graph, q[None]) for q in qpoints]
    with ThreadPoolExecutor(4) as pool:
        parallel = list(pool.map(lambda q: bloch_force_constants(model, graph, q[None]), qpoints))
    np.testing.assert_allclose(parallel, alone, rtol=0, atol=1e-14)


def test_outside_the_second_backward_the_graph_is_an_ordinary_one(model, triclinic):
    graph = graph_of(model, triclinic)
    bloch = BlochGraph.of(graph)
    vectors = torch.randn(len(triclinic), 3, dtype=torch.float64, generator=torch.manual_seed(0))
    for ours, theirs in zip(energy_forces(model, bloch), energy_forces(model, graph), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14)
    torch.testing.assert_close(hvp(model, bloch, vectors), hvp(model, graph, vectors), rtol=0, atol=1e-13)


def test_phases_end_with_the_second_backward_whatever_happens(models, triclinic):
    graph = BlochGraph.of(graph_of(models['embedded'], triclinic))
    q = torch.tensor(GENERAL[None])
    with pytest.raises(ZeroDivisionError), graph.state.phased(q):
        raise ZeroDivisionError
    assert graph.state.qpoints is None
    # A cotangent that vmap does not carry has no lanes: refused, not rotated by mistake.
    positions = graph.positions.clone().requires_grad_(True)
    energy = models['embedded'](graph.with_positions(positions)).sum()
    (gradient,) = torch.autograd.grad(energy, positions, create_graph=True)
    with graph.state.phased(q), pytest.raises(RuntimeError, match='without lanes'):
        torch.autograd.grad(gradient, positions, torch.ones_like(gradient))


def test_edges_of_a_changed_graph_are_its_own(models, triclinic):
    """``replace`` keeps the door and its state: a graph that lost edges carries the phases of those it has."""
    model = models['embedded']
    graph = graph_of(model, triclinic)

    class Selective(EmbeddedAtoms):
        def forward(self, graph):
            return super().forward(within_cutoff(graph, self.cutoff))

    longer = build_graph(triclinic, model.cutoff + 1, model.species)
    assert longer.n_edges > graph.n_edges
    both = [bloch_force_constants(m, g, GENERAL[None]) for m, g in ((model, graph), (Selective(), longer))]
    np.testing.assert_allclose(*both, rtol=0, atol=1e-13)


def test_atoms_without_neighbours(models):
    atoms = Atoms('NaCl', positions=[[0, 0, 0], [6, 6, 6]], cell=12 * np.eye(3), pbc=True)
    phi = bloch_force_constants(models['embedded'], graph_of(models['embedded'], atoms), GENERAL[None])
    assert np.array_equal(phi, np.zeros((1, 6, 6)))


def test_no_qpoint_is_no_matrix(models, triclinic):
    graph = graph_of(models['embedded'], triclinic)
    assert bloch_force_constants(models['embedded'], graph, np.empty((0, 3))).shape == (0, 12, 12)


def test_one_crystal_at_a_time(models, crystals):
    graph = graph_of(models['embedded'], crystals['diamond'])
    with pytest.raises(ValueError, match='2 systems'):
        BlochForceConstants(models['embedded'], concatenate([graph, graph]))


def test_single_precision_is_near(triclinic):
    exact, single = (
        bloch_force_constants(m, build_graph(triclinic, m.cutoff, m.species, m.dtype), GENERAL[None])
        for m in (load_mattersim(TINY, torch.float64), load_mattersim(TINY, torch.float32))
    )
    assert 1e-9 < np.abs(single - exact).max() < 1e-4
