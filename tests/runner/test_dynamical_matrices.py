"""Dynamical matrices at exact q beside phonopy's from exact supercell force constants: its phases, masses, units."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from phonopy.structure.atoms import PhonopyAtoms

from aiida_mlfc import compute_force_constants, dynamical_matrices
from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.mattersim.weights import load_mattersim
from aiida_mlfc.core.potentials.validity import OutsideTrainingError
from aiida_mlfc.core.structures.cells import to_phonopy
from aiida_mlfc.runner.bloch_phases import frequencies

from ..core.potentials.mattersim.reference_values import TINY
from ..core.small_systems import EmbeddedAtoms, small_crystals, small_dx

GENERAL = np.array([[0.137, 0.211, -0.373]])
MODELS = {
    'embedded': EmbeddedAtoms,
    'dx': lambda: small_dx(n_layers=1),
    'mattersim': lambda: load_mattersim(TINY, torch.float64),
}


@pytest.fixture(scope='module')
def crystals():
    return small_crystals()


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


@pytest.fixture
def triclinic(crystals):
    return crystals['rocksalt-rattled']


@pytest.mark.parametrize(('name', 'supercell', 'qpoints'), [
    ('rocksalt-rattled', [[2, 0, 1], [0, 1, 0], [0, 0, 2]], [[0.5, 0, 0.25], [0, 0, 0.5], [-0.5, 1, 0.75]]),
    ('rocksalt-rattled', [3, 1, 2], [[1 / 3, 0, 0.5], [-2 / 3, 0, 0]]),
    ('diamond', [3, 3, 3], [[0, 0, 0], [1 / 3, 1 / 3, 0], [1 / 3, -1 / 3, 2 / 3]]),
    ('rocksalt', [2, 2, 2], [[0.5, 0.5, 0], [0.5, 0, 0]]),
])
def test_equals_phonopy_at_commensurate_q(model, crystals, name, supercell, qpoints):
    """Elements, so phases and masses; frequencies, so units; the supercell's symmetry expansion is phonopy's."""
    atoms = crystals[name]
    phonon = compute_force_constants(atoms, supercell, model, primitive_matrix=np.eye(3), engine='rows').to_phonopy()
    exact = dynamical_matrices(atoms, qpoints, model)
    assert exact.shape == (len(qpoints), 3 * len(atoms), 3 * len(atoms))
    lightest = phonon.primitive.masses.min()
    for q, matrix in zip(qpoints, exact, strict=True):
        phonon.dynamical_matrix.run(q)
        # 1e-9 eV/Å² on force constants
        np.testing.assert_allclose(matrix, phonon.dynamical_matrix.dynamical_matrix, rtol=0, atol=1e-9 / lightest)
    phonon.run_qpoints(qpoints)
    np.testing.assert_allclose(frequencies(exact), phonon.qpoints.frequencies, rtol=0, atol=1e-5)


def test_hermitian_exactly_and_conjugate_at_opposite_q(model, triclinic):
    matrix, opposite = dynamical_matrices(triclinic, [GENERAL[0], -GENERAL[0]], model)
    assert np.abs(matrix.imag).max() > 1e-4
    assert np.array_equal(matrix, matrix.conj().T)
    np.testing.assert_allclose(opposite, matrix.conj(), rtol=0, atol=1e-15)


def test_positions_in_other_cells_are_the_same_crystal(model, triclinic):
    moved = triclinic.copy()
    moved.positions += np.array([[0, 0, 0], [1, 0, 0], [0, -2, 1], [3, 1, 0]]) @ np.array(moved.cell)
    here, there = (dynamical_matrices(atoms, GENERAL, model) for atoms in (triclinic, moved))
    np.testing.assert_allclose(here, there, rtol=0, atol=1e-13)


def test_three_acoustic_modes_at_gamma(model, crystals):
    found = frequencies(dynamical_matrices(crystals['rocksalt'], [0, 0, 0], model))
    assert found.shape == (1, 6)
    assert np.sort(np.abs(found[0]))[2] < 1e-5
    assert np.sort(np.abs(found[0]))[3] > 0.1


def test_masses_that_were_set_hold(triclinic):
    heavy = triclinic.copy()
    heavy.set_masses([40.0, 10.0, 20.0, 5.0])
    by_default = dynamical_matrices(triclinic, GENERAL, EmbeddedAtoms())
    standard = to_phonopy(triclinic).masses
    roots = np.sqrt(heavy.get_masses() / standard).repeat(3)
    for structure in (heavy, to_phonopy(heavy)):
        assert isinstance(structure, Atoms | PhonopyAtoms)
        found = dynamical_matrices(structure, GENERAL, EmbeddedAtoms())
        np.testing.assert_allclose(found, by_default / np.outer(roots, roots), rtol=1e-12, atol=1e-16)


def test_frequencies_of_known_matrices():
    """ω = sqrt(k/m): 1 eV/Å²/amu is 15.633302 THz; instabilities come out negative, below everything."""
    matrices = np.array([np.diag([4.0, -1.0, 0.0]), np.diag([1.0, 9.0, -4.0])]).astype(complex)
    unit = 15.633302
    expected = unit * np.array([[-1, 0, 2], [-2, 1, 3]])
    np.testing.assert_allclose(frequencies(matrices), expected, rtol=1e-6)


def test_checkpoint_by_name_and_progress(tiny_checkpoint, silicon):
    seen = []
    found = dynamical_matrices(
        silicon, GENERAL, str(tiny_checkpoint), max_memory=1, progress=lambda *counts: seen.append(counts)
    )
    assert found.dtype == np.complex128
    # Inversion with time reversal relates the two atoms: three products of six.
    assert seen == [(k, 3) for k in range(1, 4)]


@pytest.mark.parametrize('name', ['diamond', 'rocksalt', 'fcc', 'wurtzite'])
def test_symmetry_changes_nothing(model, crystals, name):
    """Irreducible q-points and little-group directions beside every column of every q-point."""
    atoms = bulk('AlSi', 'wurtzite', a=3.5, c=5.7, u=0.38) if name == 'wurtzite' else crystals[name]
    special = [[0, 0, 0], [0.5, 0, 0], [0.5, 0.5, 0], [1 / 3, 1 / 3, 0], [0.2, 0, 0], [0, 0, 0.2], [0.2, 0.2, 0.4]]
    qpoints = np.array([*special, *GENERAL, *-GENERAL[:, ::-1], *GENERAL[:, [1, 0, 2]]])
    counts = []
    reduced, plain = (
        dynamical_matrices(atoms, qpoints, model, symprec=symprec, progress=lambda *count: counts.append(count))
        for symprec in (1e-5, None)
    )
    np.testing.assert_allclose(reduced, plain, rtol=0, atol=1e-13 * np.abs(plain).max())
    totals = sorted({total for _, total in counts})
    assert totals[0] < totals[-1] / 2


def test_symmetry_that_is_only_nearly_there_is_refused(crystals):
    atoms = crystals['diamond'].copy()
    atoms.positions[1] += [0.02, 0, 0]
    with pytest.raises(ValueError, match='contradict the symmetry'):
        dynamical_matrices(atoms, [0, 0, 0], EmbeddedAtoms(), symprec=0.1)


@pytest.mark.parametrize('qpoints', [[[0.5, 0.5]], [[[0.0, 0, 0]]], [[np.nan, 0, 0]]])
def test_qpoints_are_checked(silicon, qpoints):
    with pytest.raises(ValueError, match='qpoints'):
        dynamical_matrices(silicon, qpoints, EmbeddedAtoms())


def test_no_qpoints(silicon):
    assert dynamical_matrices(silicon, np.empty((0, 3)), EmbeddedAtoms()).shape == (0, 6, 6)


def test_potential_that_never_saw_the_crystal_refuses(silicon):
    model = EmbeddedAtoms()
    model.metadata = {'validity': {'shortest_distances': {'Na-Cl': [2.0, 3.0]}}}
    with pytest.raises(OutsideTrainingError, match='Si-Si'):
        dynamical_matrices(silicon, GENERAL, model)


class Weighted(torch.autograd.Function):
    """x, with a gradient that is multiplied by a weight: nobody's derivative, as in a kernel with a mistake."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(weight)
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0], None


def test_second_derivatives_of_no_energy_are_refused(triclinic):
    class Mistaken(EmbeddedAtoms):
        def forward(self, graph):
            vectors = graph.edge_vectors()
            overlap = torch.exp(-vectors.square().sum(-1))
            return graph.sum_to_systems(graph.sum_to_centres(Weighted.apply(overlap, vectors[:, 0])))

    with pytest.raises(RuntimeError, match='not Hermitian'):
        dynamical_matrices(triclinic, GENERAL, Mistaken())


class Unreachable(EmbeddedAtoms):
    """Reads its neighbours elsewhere than through the door, and says so."""

    neighbours_only = False

    def forward(self, graph):
        class Other(type(graph)):
            def neighbours(self, x):
                return x[self.edge_index[1]]

        values = {name: getattr(graph, name) for name in AtomGraph.__dataclass_fields__}
        return super().forward(Other(**values, **({'state': graph.state} if hasattr(graph, 'state') else {})))


def test_potentials_that_cannot_be_reached_are_asked_through_supercells(crystals):
    atoms, qpoints = crystals['rocksalt-rattled'], [[0, 0, 0], [0.5, 0.25, 0], [-0.5, 0.75, 0], [1 / 3, 1 / 3, 0]]
    inside, outside = (dynamical_matrices(atoms, qpoints, model) for model in (EmbeddedAtoms(), Unreachable()))
    np.testing.assert_allclose(outside, inside, rtol=0, atol=1e-13)
    # What happens without saying so: Hermitian and wrong. The contract test holds every model to the rule.
    silent = Unreachable()
    silent.neighbours_only = True
    assert np.abs(dynamical_matrices(atoms, qpoints, silent) - inside).max() > 1e-3
    with pytest.raises(ValueError, match='wanted fractions'):
        dynamical_matrices(atoms, GENERAL + 1e-7, Unreachable())


def test_force_constants_of_such_a_potential_come_from_rows(crystals):
    atoms = crystals['diamond']
    found = compute_force_constants(atoms, [2, 2, 2], Unreachable())
    expected = compute_force_constants(atoms, [2, 2, 2], EmbeddedAtoms())
    assert (found.quality.engine, found.quality.truncation_error) == ('rows', None)
    np.testing.assert_allclose(found.array, expected.array, rtol=0, atol=1e-12)
    for arguments in ({'engine': 'qspace'}, {'supercell_matrix': 'auto'}):
        with pytest.raises(ValueError, match=r'qspace|q-space'):
            compute_force_constants(atoms, **{'supercell_matrix': [1, 1, 1], 'potential': Unreachable(), **arguments})
