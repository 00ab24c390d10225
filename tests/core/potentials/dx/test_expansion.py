"""The cluster expansion: splines and harmonics against other libraries, its energy against a plain double sum."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.neighborlist import neighbor_list
from scipy.interpolate import BSpline
from scipy.special import eval_legendre

from aiida_mlfc.core.potentials.dx.config import DXConfig
from aiida_mlfc.core.potentials.dx.expansion import ClusterExpansion, Splines, unit_harmonics
from aiida_mlfc.core.potentials.dx.model import DXModel
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph

from ...small_systems import SPECIES, small_dx, small_dx_with_expansion


def rock_salt():
    atoms = bulk('NaCl', 'rocksalt', 5.5, cubic=True)
    atoms.rattle(0.1, seed=1)
    return atoms


@pytest.mark.parametrize('spacing', [0.1, 0.4, 0.6])
def test_splines_are_those_of_scipy(spacing):
    splines = Splines(6.0, spacing).double()
    distances = torch.linspace(0.01, 6.5, 997, dtype=torch.float64)
    knots = splines.spacing * np.arange(-3, 4)
    expected = [
        BSpline.basis_element(splines.first + k * splines.spacing + knots, extrapolate=False)(distances.numpy())
        for k in range(splines.n)
    ]
    assert np.abs(splines(distances).numpy() - np.nan_to_num(expected).T).max() < 1e-13


def test_splines_end_at_the_cutoff_and_begin_nearer_than_atoms_come():
    splines = Splines(6.0, 0.4).double()
    assert not splines(torch.tensor([6.0, 6.1, 60.0], dtype=torch.float64)).any()
    assert splines(torch.tensor([5.99], dtype=torch.float64))[0, -1] > 0
    assert splines(torch.tensor([0.6], dtype=torch.float64))[0, 0] > 0


def test_splines_do_not_depend_on_a_detour_through_float32():
    distances = torch.linspace(0.5, 6, 50, dtype=torch.float64)
    assert torch.equal(Splines(6.0, 0.4).double()(distances), Splines(6.0, 0.4).float().double()(distances))


def test_harmonics_are_those_of_e3nn():
    e3nn = pytest.importorskip('e3nn.o3')
    units = torch.nn.functional.normalize(torch.randn(40, 3, dtype=torch.float64), dim=1)
    expected = e3nn.spherical_harmonics([0, 1, 2, 3], units, normalize=False, normalization='norm')
    assert (unit_harmonics(units) - expected).abs().max() < 1e-14


def test_energy_is_the_sum_over_pairs_and_triplets():
    model, atoms = small_dx_with_expansion(), rock_salt()
    expansion = model.expansion
    types = [SPECIES.index(z) for z in atoms.numbers]
    first, second, distances, vectors = neighbor_list('ijdD', atoms, expansion.cutoff)
    pair = expansion.pair_splines(torch.as_tensor(distances)).numpy()
    triplet = expansion.triplet_splines(torch.as_tensor(distances)).numpy()
    expected = np.zeros(len(atoms))
    for k, (i, j) in enumerate(zip(first, second, strict=True)):
        number = expansion.pairs.index(tuple(sorted((types[i], types[j]))))
        expected[i] += pair[k] @ expansion.pair_coefficients[number].numpy() / 2
    for i in range(len(atoms)):
        edges = np.nonzero((first == i) & (distances < expansion.triplet_splines.cutoff))[0]
        for k, other in itertools.product(edges, edges):
            a, b = types[second[k]], types[second[other]]
            if a > b:
                continue
            weights = expansion.triplet_coefficients[expansion.triplets.index((types[i], a, b))].numpy()
            cosine = vectors[k] @ vectors[other] / distances[k] / distances[other]
            for degree in range(4):
                expected[i] += eval_legendre(degree, cosine) * (triplet[k] @ weights[degree] @ triplet[other])
    found = expansion(build_graph(atoms, model.cutoff, SPECIES))
    assert np.abs(found.numpy() - expected).max() < 1e-11 * np.abs(expected).max()


def test_the_network_beside_it_is_the_network_without_it():
    with_expansion, without = small_dx_with_expansion(), small_dx()
    atoms = rock_salt()
    wide, narrow = (build_graph(atoms, model.cutoff, SPECIES) for model in (with_expansion, without))
    assert wide.n_edges > narrow.n_edges
    expected = without(narrow) + with_expansion.expansion(wide).sum()
    assert torch.allclose(with_expansion(wide), expected, rtol=0, atol=1e-12)


def test_elements_that_do_not_occur_together_do_not_interact_through_it():
    model = small_dx_with_expansion()
    atoms = bulk('NaCl', 'rocksalt', 5.5)
    atoms.symbols[1] = 'Si'
    # Na-Na and Si-Si are known, Na-Si is not
    assert {(SPECIES.index(11),) * 2, (SPECIES.index(14),) * 2} <= set(model.expansion.pairs)
    expected = 0.0
    for k in range(2):
        alone = atoms[[k]]
        expected += model.expansion(build_graph(alone, model.cutoff, SPECIES)).sum()
    found = model.expansion(build_graph(atoms, model.cutoff, SPECIES)).sum()
    assert float(found) == pytest.approx(float(expected), abs=1e-10)


def test_species_are_differentiated_also_towards_absent_ones():
    model = small_dx_with_expansion()
    graph = build_graph(bulk('NaCl', 'rocksalt', 5.5), model.cutoff, SPECIES)
    types = graph.atom_types.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(model.expansion(replace(graph, atom_types=types)).sum(), types)
    step, absent = 1e-5, SPECIES.index(14)
    shifted = []
    for sign in (1, -1):
        moved = graph.atom_types.clone()
        moved[0, absent] += sign * step
        shifted.append(float(model.expansion(replace(graph, atom_types=moved)).sum()))
    assert float(gradient[0, absent]) == pytest.approx((shifted[0] - shifted[1]) / 2 / step, rel=1e-6)


def test_no_expansion_is_the_default_and_old_settings_are_read():
    assert DXModel(DXConfig(species=(14,), channels=8)).expansion is None
    old = {k: v for k, v in DXConfig(species=(14,)).to_dict().items() if 'expansion' not in k}
    assert DXConfig.from_dict(old).expansion_systems == ()


def test_settings_survive_a_file():
    config = DXConfig(species=(11, 17, 14), expansion_systems=((17, 11), (14,), (11, 17)))
    assert config.expansion_systems == ((11, 17), (14,))
    assert DXConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'expansion_systems': ((11, 17),)}, 'expansion_systems: got atomic numbers .17., wanted species'),
        ({'expansion_systems': ((11,) * 9,), 'pair_cutoff': 30.0}, 'pair_cutoff: got 30.0'),
        ({'pair_spacing': 1e-9}, 'pair_spacing: got 1e-09'),
        ({'triplet_spacing': float('nan')}, 'triplet_spacing: got nan'),
        ({'species': tuple(range(1, 20)), 'expansion_systems': (tuple(range(1, 20)),)}, 'at most 8 elements'),
    ],
)
def test_settings_that_make_no_expansion(changes, said):
    with pytest.raises(ValueError, match=said):
        DXConfig(**{'species': (11,), **changes})


def test_more_coefficients_than_any_data_could_fix():
    with pytest.raises(ValueError, match=r'got [0-9]+ coefficients, wanted at most 2000000'):
        ClusterExpansion(60, list(itertools.combinations(range(60), 3)), 9.0, 8.0, 0.1, 0.2)


def test_coefficients_of_one_crystal_are_few():
    expansion = ClusterExpansion(2, [(0, 1)], 6.0, 4.0, 0.5, 0.5)
    assert len(expansion.pairs) == 3
    assert len(expansion.triplets) == 6
    assert expansion.n_coefficients == 3 * expansion.pair_splines.n + 6 * 4 * expansion.triplet_splines.n**2
