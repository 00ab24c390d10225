"""What an expansion is made of when nobody says: as fine as its number of coefficients allows."""

from dataclasses import replace

import pytest

from aiida_mlfc.core.potentials.dx.config import DXConfig
from aiida_mlfc.core.potentials.dx.model import DXModel
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.training.defaults import default_config, shortest_distances, triplet_lengths
from aiida_mlfc.core.potentials.training.expansion_fit import MOST_SOLVED_FOR


def lengths(systems, **changes):
    found = triplet_lengths(systems, **changes)
    return found.get('triplet_cutoff'), found.get('triplet_spacing')


@pytest.mark.parametrize(
    ('systems', 'expected'),
    [
        ([(14,)], (7.0, 0.45)),
        ([(14,), (8, 14)], (7.0, 0.45)),
        ([(8, 20, 22)], (7.0, 0.6)),
        ([(3, 8, 30, 32)], (6.0, 0.6)),
        ([(1, 6, 8, 9, 19)], (6.0, 0.6)),
        ([(8, z) for z in range(20, 50)], (7.0, 0.6)),
        # as many as a small data base holds: their matrices would not fit into memory
        ([(8, 12, z) for z in range(20, 40)], (6.0, 0.6)),
    ],
    ids=['one', 'two', 'three', 'four', 'five', 'many of two', 'many of three'],
)
def test_by_the_number_of_elements(systems, expected):
    assert lengths(systems) == expected


@pytest.mark.parametrize('asked', [{'triplet_cutoff': 4.0}, {'triplet_spacing': 0.8}], ids=str)
def test_what_is_asked_for_stays(asked):
    assert triplet_lengths([(14,)], **asked) == {}


@pytest.mark.parametrize('n', [1, 2, 3, 4, 5])
def test_all_of_them_can_be_solved_for(n):
    system = tuple(range(3, 3 + n))
    model = DXModel(DXConfig(species=system, channels=4, expansion_systems=(system,), **triplet_lengths([system])))
    assert 0 < model.expansion.n_coefficients <= MOST_SOLVED_FOR


def test_longer_pairs_count():
    many = [(8, z) for z in range(20, 80)]
    assert lengths(many[:50]) == (7.0, 0.6)
    assert lengths(many[:50], pair_cutoff=15.0, pair_spacing=0.1) == (6.0, 0.6)


def test_repulsion_ends_below_what_is_learned(reference):
    found = default_config([reference]).repulsion
    # rock salt of 5.64 Å: each pair of species has its shortest distance at rest
    shortest = {(11, 11): 5.64 / 2**0.5, (11, 17): 2.82, (17, 17): 5.64 / 2**0.5}
    assert {pair[:2]: pair[2] for pair in found} == {k: pytest.approx(0.85 * r, abs=1e-3) for k, r in shortest.items()}


def test_repulsion_ends_below_the_shortest_distance_while_displaced(reference):
    graph = build_graph(reference.supercell, 3.0, (11, 17))
    far = reference.displacements.copy()
    pair = graph.edge_index[:, 0].numpy()
    towards = graph.edge_vectors()[0].numpy() / 2.82
    far[0] = 0.0
    far[0, pair[0]] = 0.9 * towards
    found = shortest_distances([replace(reference, displacements=far)], 5.0)
    assert {pair[:2]: pair[2] for pair in found}[11, 17] == pytest.approx(1.92, abs=1e-3)
