"""Triplets of a graph, against a double loop."""

import pytest
import torch
from ase.build import bulk

from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.graphs.triplets import find_triplets


def double_loop(centres, distances, cutoff):
    n = range(len(centres))
    return [
        [e, f] for e in n for f in n
        if e != f and centres[e] == centres[f] and distances[e] <= cutoff and distances[f] <= cutoff
    ]


@pytest.mark.parametrize('atoms', [bulk('Si'), bulk('Fe'), bulk('NaCl', 'rocksalt', a=5.64)], ids=str)
@pytest.mark.parametrize('shuffled', [False, True])
def test_all_pairs_in_order(atoms, shuffled):
    graph = build_graph(atoms, 4.5, tuple(range(1, 30)))
    centres, distances = graph.edge_index[0], graph.edge_vectors().norm(dim=1)
    if shuffled:
        order = torch.randperm(len(centres), generator=torch.manual_seed(0))
        centres, distances = centres[order], distances[order]
    triplets = find_triplets(centres, distances, 4.0)
    expected = double_loop(centres.tolist(), distances.tolist(), 4.0)
    assert len(expected) > 20
    assert triplets.tolist() == expected


def test_none():
    none = torch.zeros(0, dtype=torch.int64)
    assert find_triplets(none, torch.zeros(0), 4.0).shape == (0, 2)
    assert find_triplets(torch.tensor([0, 1]), torch.tensor([1.0, 1.0]), 4.0).shape == (0, 2)
    assert find_triplets(torch.tensor([0, 0]), torch.tensor([1.0, 4.5]), 4.0).shape == (0, 2)
