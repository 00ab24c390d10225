"""Irreducible directions and phonopy's expansion against the full Hessian of the supercell."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from phonopy.harmonic.force_constants import compact_fc_to_full_fc

from aiida_mlfc.core.force_constants.irreducible import from_responses, set_up
from aiida_mlfc.core.force_constants.sum_rules import acoustic_sum_residual, permutation_asymmetry
from aiida_mlfc.core.potentials.derivatives.finite_differences import difference_responses
from aiida_mlfc.core.potentials.derivatives.rows import directional_responses
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.structures.checks import StructureError

from ..small_systems import SPECIES, EmbeddedAtoms, small_dx

MEASURED = {'method': 'autograd', 'dtype': 'float64', 'seconds': 0.0, 'peak_memory': 0.0}
TRICLINIC = Atoms(
    'NaClSi',
    scaled_positions=[[0.02, 0.05, 0.01], [0.48, 0.55, 0.36], [0.13, 0.62, 0.81]],
    cell=[[3.9, 0.2, 0.1], [0.4, 4.3, -0.3], [-0.6, 0.5, 4.7]],
    pbc=True,
)
#: crystal, supercell, number of directions that symmetry leaves
CRYSTALS = {
    'diamond': (bulk('Si', 'diamond', a=5.43), [2, 2, 2], 1),
    'rocksalt': (bulk('NaCl', 'rocksalt', a=5.64), [2, 2, 2], 2),
    'conventional rocksalt': (bulk('NaCl', 'rocksalt', a=5.64, cubic=True), [1, 1, 1], 2),
    'supercell with shear': (bulk('NaCl', 'rocksalt', a=5.64), [[-1, 1, 1], [1, -1, 1], [1, 1, -1]], 2),
    # Na and Cl in the lattice of ZnO: the toy model knows no better
    'wurtzite': (bulk('NaCl', 'wurtzite', a=3.25, c=5.21), [2, 2, 2], 2),
    'triclinic': (TRICLINIC, [2, 1, 1], 9),
}


@pytest.fixture(params=list(CRYSTALS))
def crystal(request):
    atoms, matrix, n_directions = CRYSTALS[request.param]
    return set_up(atoms, np.array(matrix)), n_directions


def full_hessian(model, supercell):
    """All rows, no symmetry, shape (n, n, 3, 3)."""
    n = len(supercell)
    graph = build_graph(supercell, model.cutoff, SPECIES)
    responses, forces = directional_responses(model, graph, np.repeat(np.arange(n), 3), np.tile(np.eye(3), (n, 1)))
    return -responses.reshape(n, 3, n, 3).transpose(0, 2, 1, 3), forces


def force_constants(model, setup):
    graph = build_graph(setup.supercell, model.cutoff, SPECIES)
    return from_responses(setup, *directional_responses(model, graph, setup.atoms, setup.directions), MEASURED)


def test_expansion_equals_the_full_hessian(crystal):
    setup, n_directions = crystal
    assert len(setup.atoms) == n_directions
    np.testing.assert_allclose(np.linalg.norm(setup.directions, axis=1), 1)
    model = EmbeddedAtoms()
    hessian, forces = full_hessian(model, setup.supercell)
    found = force_constants(model, setup)
    expanded = compact_fc_to_full_fc(setup.phonon.primitive, found.array)
    assert np.abs(hessian).max() > 0.1
    assert np.abs(expanded - hessian).max() < 1e-9 * np.abs(hessian).max()
    assert found.quality.max_residual_force == pytest.approx(np.abs(forces).max(), abs=1e-12)
    assert found.quality.n_directions == n_directions


def test_expansion_of_a_real_model():
    """As above with dx: messages cross more than one image of the supercell."""
    setup = set_up(bulk('NaCl', 'rocksalt', a=5.64), np.array([2, 2, 2]))
    model = small_dx(cutoff=3.2)
    hessian, _ = full_hessian(model, setup.supercell)
    expanded = compact_fc_to_full_fc(setup.phonon.primitive, force_constants(model, setup).array)
    assert np.abs(expanded - hessian).max() < 1e-9 * np.abs(hessian).max()


def test_sum_rules_hold_before_any_correction(crystal):
    quality = force_constants(EmbeddedAtoms(), crystal[0]).quality
    assert quality.acoustic_sum_residual < 1e-8
    assert quality.permutation_asymmetry < 1e-8


def test_finite_differences_agree_and_converge(crystal):
    setup, _ = crystal
    model = EmbeddedAtoms()
    exact = force_constants(model, setup).array
    step = {
        h: from_responses(
            setup, *difference_responses(model, setup.supercell, setup.atoms, setup.directions, h), MEASURED
        ).array
        for h in (0.02, 0.01)
    }
    extrapolated = (4 * step[0.01] - step[0.02]) / 3
    scale = np.abs(exact).max()
    assert np.abs(step[0.01] - exact).max() > 1e-9 * scale
    assert np.abs(extrapolated - exact).max() < 1e-6 * scale


def test_the_record_gives_back_what_it_holds(crystal):
    setup, _ = crystal
    found = force_constants(EmbeddedAtoms(), setup)
    fresh = type(found)(
        **{
            k: getattr(found, k)
            for k in ('array', 'unitcell', 'supercell_matrix', 'primitive_matrix', 'quality', 'nac_params', 'symprec')
        }
    )
    qpoints = [[0.1, 0.2, 0.3], [0.5, 0, 0]]
    first, second = (f.to_phonopy().run_qpoints(qpoints).frequencies for f in (found, fresh))
    np.testing.assert_allclose(first, second, atol=1e-10)
    np.testing.assert_array_equal(fresh.to_phonopy().force_constants, found.array)
    assert fresh.to_phonopy() is fresh.to_phonopy()


def test_born_charges_of_one_record_do_not_stay_for_the_next():
    """Both records share one setup, as autograd and finite differences of one crystal do."""
    setup = set_up(bulk('NaCl', 'rocksalt', a=5.64), np.array([2, 2, 2]))
    model = EmbeddedAtoms()
    responses = directional_responses(
        model, build_graph(setup.supercell, model.cutoff, SPECIES), setup.atoms, setup.directions
    )
    born = np.array([np.eye(3), -np.eye(3)])
    charged = from_responses(setup, *responses, MEASURED, {'born': born, 'dielectric': 2 * np.eye(3), 'factor': 14.4})
    neutral = from_responses(setup, *responses, MEASURED)
    assert charged.to_phonopy().nac_params is not None
    assert neutral.to_phonopy().nac_params is None


def test_isotope_masses_reach_phonopy():
    atoms = bulk('Si', 'diamond', a=5.43)
    atoms.set_masses([30.0, 30.0])
    assert set_up(atoms, np.array([1, 1, 1])).phonon.primitive.masses.tolist() == [30.0, 30.0]


def test_isotopes_that_translations_mix_are_refused():
    """Aluminium of two masses in the conventional cell: its primitive cell has one atom, of which mass?"""
    atoms = bulk('Al', 'fcc', a=4.05, cubic=True)
    atoms.set_masses([27.0, 27.0, 30.0, 30.0])
    with pytest.raises(StructureError, match=r"masses 27.0 and 30.0 .*primitive_matrix='P'"):
        set_up(atoms, np.array([1, 1, 1]))
    assert set_up(atoms, np.array([1, 1, 1]), 'P').phonon.primitive.masses.tolist() == [27.0, 27.0, 30.0, 30.0]
    atoms.set_masses([30.0] * 4)
    assert set_up(atoms, np.array([1, 1, 1])).phonon.primitive.masses.tolist() == [30.0]


@pytest.mark.parametrize('cubic', [False, True])
def test_left_handed_cells_are_refused_and_what_the_message_says_helps(cubic):
    right = bulk('NaCl', 'rocksalt', a=5.64, cubic=cubic)
    left = right.copy()
    left.set_cell(np.array(right.cell)[[1, 0, 2]])
    with pytest.raises(StructureError, match=r'atoms.set_cell\(-atoms.cell\)'):
        set_up(left, np.array([2, 2, 2]))
    left.set_cell(-left.cell)
    model = EmbeddedAtoms()
    found, wanted = (force_constants(model, set_up(atoms, np.array([2, 2, 2]))) for atoms in (left, right))
    qpoints = np.array([[0.1, 0.2, 0.3], [0.5, 0.0, 0.0]])
    # the same wave vectors in the reciprocal basis of either primitive cell
    change = np.array(found.to_phonopy().primitive.cell) @ np.linalg.inv(wanted.to_phonopy().primitive.cell)
    first = found.to_phonopy().run_qpoints(qpoints @ change.T).frequencies
    np.testing.assert_allclose(first, wanted.to_phonopy().run_qpoints(qpoints).frequencies, atol=1e-9)


def test_refusals():
    setup = set_up(bulk('Si', 'diamond', a=5.43), np.array([2, 2, 2]))
    good, rest = np.zeros((1, 16, 3)), np.zeros((16, 3))
    with pytest.raises(ValueError, match=r'got shape \(2, 16, 3\)'):
        from_responses(setup, np.zeros((2, 16, 3)), rest, MEASURED)
    good[0, 3, 1] = np.nan
    with pytest.raises(ValueError, match='not finite'):
        from_responses(setup, good, rest, MEASURED)
    rest[0] = np.inf
    with pytest.raises(ValueError, match='not finite'):
        from_responses(setup, np.zeros((1, 16, 3)), rest, MEASURED)


def test_sum_rules_see_what_breaks_them():
    setup = set_up(bulk('NaCl', 'rocksalt', a=5.64), np.array([2, 2, 2]))
    array = force_constants(EmbeddedAtoms(), setup).array
    assert acoustic_sum_residual(array) < 1e-10
    broken = array.copy()
    broken[0, 5, 0, 1] += 1e-3
    assert acoustic_sum_residual(broken) == pytest.approx(1e-3, rel=1e-6)
    assert permutation_asymmetry(broken, setup.phonon.primitive) == pytest.approx(1e-3, rel=1e-6)
