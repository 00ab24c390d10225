"""The neighbour list against ASE's, and against what is known of crystals."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.structures.checks import StructureError, UnknownSpeciesError

#: Å; edges this close to the cutoff may fall on either side of it
MARGIN = 1e-6


@st.composite
def crystals(draw):
    """One to four atoms in any cell, left-handed, long and flat ones too, some atoms far outside it."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_atoms = draw(st.integers(1, 4))
    cell = rng.uniform(-0.6, 0.6, (3, 3)) + np.eye(3)
    cell[2] *= draw(st.sampled_from([1.0, -0.4, 3.0]))
    assume(abs(np.linalg.det(cell)) > 0.2)
    scaled = rng.uniform(-0.2, 1.2, (n_atoms, 3)) + draw(st.sampled_from([0, 5])) * rng.integers(-1, 2, (n_atoms, 3))
    atoms = Atoms(numbers=rng.choice([11, 17], n_atoms), scaled_positions=scaled, cell=cell, pbc=True)
    # Scaled until the shortest distance is one that no check refuses.
    shortest = neighbor_list('d', atoms, 1.001 * np.linalg.norm(cell, axis=1).min()).min()
    atoms.set_cell(cell * (draw(st.sampled_from([0.9, 2.5])) / shortest), scale_atoms=True)
    assume(0.6 < atoms.get_volume() / n_atoms < 900)
    return atoms


def edges_of(graph):
    shifts = graph.edge_cell_shifts.numpy().astype(int)
    return list(map(tuple, np.column_stack([graph.edge_index.numpy().T, shifts])))


@given(crystals(), st.sampled_from([1.5, 3.0]))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_same_edges_as_ase(atoms, cutoff):
    i, j, shifts, distances, vectors = neighbor_list('ijSdD', atoms, cutoff + MARGIN)
    graph = build_graph(atoms, cutoff, (11, 17))
    found = edges_of(graph)
    assert len(found) == len(set(found))
    every = np.column_stack([i, j, shifts])
    assert set(found) <= set(map(tuple, every))
    assert set(map(tuple, every[distances < cutoff - MARGIN])) <= set(found)
    expected = dict(zip(map(tuple, every), vectors, strict=True))
    if found:
        np.testing.assert_allclose(graph.edge_vectors(), [expected[e] for e in found], rtol=0, atol=1e-10)


def test_one_atom_cell_smaller_than_the_cutoff():
    """Shells of fcc: 12, 6, 24, 12 neighbours, all of them images of the one atom."""
    graph = build_graph(bulk('Al', 'fcc', a=4.05), 6.0, (13,))
    lengths = graph.edge_vectors().norm(dim=1).numpy()
    shells, counts = np.unique(lengths.round(6), return_counts=True)
    np.testing.assert_allclose(shells, 4.05 / np.sqrt([2, 1, 2 / 3, 1 / 2]), atol=1e-6)
    assert counts.tolist() == [12, 6, 24, 12]
    assert (graph.edge_index == 0).all()
    assert not (graph.edge_cell_shifts == 0).all(dim=1).any(), 'an atom is its own neighbour'


def test_direction_of_edges():
    """From the centre, row 0, to the neighbour, row 1."""
    atoms = Atoms('NaCl', positions=[[0, 0, 0], [1.9, 0, 0]], cell=[5, 9, 9], pbc=True)
    graph = build_graph(atoms, 3.5, (17, 11))
    found = {edge: vector.tolist() for edge, vector in zip(edges_of(graph), graph.edge_vectors(), strict=True)}
    assert set(found) == {(0, 1, 0, 0, 0), (0, 1, -1, 0, 0), (1, 0, 0, 0, 0), (1, 0, 1, 0, 0)}
    np.testing.assert_allclose(found[0, 1, 0, 0, 0], [1.9, 0, 0])
    np.testing.assert_allclose(found[0, 1, -1, 0, 0], [-3.1, 0, 0])
    np.testing.assert_allclose(found[1, 0, 1, 0, 0], [3.1, 0, 0])
    assert graph.atom_types.tolist() == [[0, 1], [1, 0]]


def test_order_of_edges_is_fixed():
    atoms = bulk('NaCl', 'rocksalt', a=5.64, cubic=True)
    edges = edges_of(build_graph(atoms, 4.4, (11, 17)))
    assert edges == sorted(edges)


def test_numbers_and_places():
    graph = build_graph(bulk('Si'), 3.0, (14,), dtype=torch.float32)
    real = (graph.positions, graph.cell, graph.atom_types, graph.edge_cell_shifts)
    assert {x.dtype for x in real} == {torch.float32}
    assert {graph.batch.dtype, graph.edge_index.dtype} == {torch.int64}
    assert (graph.n_atoms, graph.n_systems, graph.n_edges) == (2, 1, 8)
    assert build_graph(bulk('Si'), 3.0, (14,)).positions.dtype == torch.float64


def test_unknown_elements_are_named():
    with pytest.raises(UnknownSpeciesError, match='does not know Na, Cl; it was trained on Si Ge'):
        build_graph(bulk('NaCl', 'rocksalt', a=5.64), 4.0, (14, 32))


def test_two_atoms_on_one_site():
    atoms = Atoms('NaCl', positions=[[0, 0, 0], [5, 0, 0.2]], cell=[5, 5, 5], pbc=True)
    with pytest.raises(StructureError, match=r'\(Na\).*\(Cl\).*0.2 Å apart'):
        build_graph(atoms, 4.0, (11, 17))
