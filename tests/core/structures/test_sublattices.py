"""Commensurate wave vectors, the cells they fix, and folding that loses nothing."""

from fractions import Fraction

import numpy as np
import pytest
import spglib
from ase.build import bulk, make_supercell
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aiida_mlfc.core.potentials.derivatives.rows import directional_responses
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.structures.sublattices import commensurate_qpoints, fold, irreducible_qpoints, sublattice_of

from ..small_systems import SPECIES, EmbeddedAtoms

FCC_TO_CUBIC = np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])


@given(st.lists(st.integers(-3, 3), min_size=9, max_size=9))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_commensurate_qpoints(entries):
    matrix = np.array(entries).reshape(3, 3)
    order = abs(round(np.linalg.det(matrix)))
    assume(0 < order <= 24)
    qpoints = commensurate_qpoints(matrix)
    assert qpoints.shape == (order, 3)
    assert len({tuple(q) for q in qpoints.round(9)}) == order
    assert (qpoints >= 0).all()
    assert (qpoints < 1).all()
    phases = qpoints @ matrix.T
    np.testing.assert_allclose(phases, np.rint(phases), atol=1e-9)


@given(st.lists(st.fractions(0, 1, max_denominator=6), min_size=3, max_size=3))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_sublattice(fractions):
    qpoint = np.array([float(f) for f in fractions])
    order = np.lcm.reduce([Fraction(f).denominator for f in fractions])
    basis = sublattice_of(qpoint)
    assert round(np.linalg.det(basis)) == order
    np.testing.assert_allclose(basis @ qpoint, np.rint(basis @ qpoint), atol=1e-9)


def test_irrational_wave_vector():
    with pytest.raises(ValueError, match='no sublattice for q'):
        sublattice_of(np.array([np.sqrt(2) / 2, 0, 0]))


def hessian(atoms):
    model, n = EmbeddedAtoms(), len(atoms)
    graph = build_graph(atoms, model.cutoff, SPECIES)
    rows = directional_responses(model, graph, np.repeat(np.arange(n), 3), np.tile(np.eye(3), (n, 1)))[0]
    return -rows.reshape(n, 3, n, 3).transpose(0, 2, 1, 3)


@pytest.mark.parametrize(('primitive', 'matrix'), [
    (bulk('Al', 'fcc', a=4.05), np.diag([3, 2, 2])),
    (bulk('Al', 'fcc', a=4.05), 2 * FCC_TO_CUBIC),
    (bulk('NaCl', 'rocksalt', a=5.64), 2 * np.eye(3, dtype=int)),
], ids=['Al 3x2x2', 'Al cubic 2x2x2', 'NaCl 2x2x2'])
def test_folding_is_exact(primitive, matrix):
    """Folded force constants are those of the small cell, although the interaction is longer than either cell."""
    supercell = make_supercell(primitive, matrix)
    assert 2 * EmbeddedAtoms().interaction_range > supercell.cell.lengths().min() / 2
    whole = hessian(supercell)
    qpoints = commensurate_qpoints(matrix)
    # the first of each order is enough
    _, first = np.unique([round(np.linalg.det(sublattice_of(q))) for q in qpoints], return_index=True)
    assert len(first) > 1
    for q in qpoints[first]:
        folded = fold(supercell, whole, primitive, q)
        assert len(folded.atoms) == len(primitive) * round(np.linalg.det(sublattice_of(q)))
        assert folded.qpoint == tuple(q)
        np.testing.assert_allclose(folded.force_constants, hessian(folded.atoms), rtol=0, atol=1e-10)
    assert np.abs(whole).max() > 0.1


def test_small_cells_hold_the_spectrum_of_the_supercell():
    """Counted once each, the modes of the commensurate cells are the modes of the supercell."""
    primitive, matrix = bulk('NaCl', 'rocksalt', a=5.64), np.diag([2, 2, 2])
    supercell = make_supercell(primitive, matrix)
    whole = hessian(supercell)
    n = 3 * len(supercell)
    spectrum = np.linalg.eigvalsh(whole.transpose(0, 2, 1, 3).reshape(n, n))
    gamma = fold(supercell, whole, primitive, np.zeros(3)).force_constants
    at_gamma = np.linalg.eigvalsh(gamma.transpose(0, 2, 1, 3).reshape(6, 6))
    modes = list(at_gamma)
    for q in commensurate_qpoints(matrix)[1:]:
        small = fold(supercell, whole, primitive, q).force_constants
        both = list(np.linalg.eigvalsh(small.transpose(0, 2, 1, 3).reshape(12, 12)))
        for value in at_gamma:  # this cell holds Γ and q
            both.pop(int(np.abs(np.array(both) - value).argmin()))
        modes += both
    np.testing.assert_allclose(np.sort(modes), spectrum, atol=1e-9)


def test_folding_refuses_displaced_atoms():
    primitive = bulk('Al', 'fcc', a=4.05)
    supercell = make_supercell(primitive, np.diag([2, 2, 2]))
    supercell.positions[3, 0] += 0.05
    with pytest.raises(ValueError, match='are positions perfect'):
        fold(supercell, np.zeros((8, 8, 3, 3)), primitive, np.zeros(3))


def rotations_of(atoms):
    return spglib.get_symmetry_dataset((np.array(atoms.cell), atoms.get_scaled_positions(), atoms.numbers)).rotations


def test_irreducible_qpoints_of_fcc():
    """2x2x2 of the fcc primitive cell: Γ, four L, three X."""
    qpoints = commensurate_qpoints(np.diag([2, 2, 2]))
    chosen = irreducible_qpoints(qpoints, rotations_of(bulk('Al', 'fcc', a=4.05)))
    assert len(chosen) == 3
    assert (chosen[0] == 0).all()
    only_identity = np.eye(3, dtype=int)[None]
    assert len(irreducible_qpoints(qpoints, only_identity)) == 8


def test_time_reversal_joins_q_and_minus_q():
    qpoints = commensurate_qpoints(np.diag([3, 1, 1]))
    assert len(irreducible_qpoints(qpoints, np.eye(3, dtype=int)[None])) == 2


@pytest.mark.parametrize(('primitive', 'mesh'), [
    (bulk('ZnO', 'wurtzite', a=3.25, c=5.2), [6, 6, 2]), (bulk('Al', 'fcc', a=4.05), [5, 5, 5]),
], ids=['wurtzite', 'fcc'])
def test_stars_agree_with_spglib(primitive, mesh):
    cell = (np.array(primitive.cell), primitive.get_scaled_positions(), primitive.numbers)
    mapping, grid = spglib.get_ir_reciprocal_mesh(mesh, cell)
    star_of = {tuple(address % mesh): star for address, star in zip(grid, mapping, strict=True)}
    chosen = irreducible_qpoints(commensurate_qpoints(np.diag(mesh)), rotations_of(primitive))
    stars = [star_of[tuple(np.rint(q * mesh).astype(int))] for q in chosen]
    assert sorted(stars) == sorted(set(mapping))
