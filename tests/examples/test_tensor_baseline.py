"""The direct baseline is equivariant, has all three parts of a matrix, and learns; the benchmark runs on springs."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from aiida_mlfc.core.potentials.dx.config import DXConfig
from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.training.defaults import default_config, default_recipe
from aiida_mlfc.core.potentials.training.references import load_reference

from ..spring_sets import write_springs

BENCHMARKS = Path(__file__).parents[2] / 'examples' / 'benchmarks'
MODEL = {'channels': 8, 'n_heads': 2, 'n_layers': 1, 'cutoff': 3.2, 'radial_width': 8, 'n_radial': 4}


@pytest.fixture
def modules(monkeypatch):
    """The benchmark and its parts, which have plain names and are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    import tensor_baseline
    import tensor_baseline_network
    import tensor_baseline_training

    yield tensor_baseline, tensor_baseline_network, tensor_baseline_training
    for name in set(sys.modules) - before:
        if (BENCHMARKS / f'{name}.py').exists():
            del sys.modules[name]


def triclinic() -> Atoms:
    """Three elements on four sites without any symmetry."""
    cell = [[4.1, 0.2, 0.1], [0.5, 4.4, -0.3], [-0.2, 0.6, 4.8]]
    scaled = [[0, 0, 0], [0.48, 0.55, 0.1], [0.1, 0.5, 0.55], [0.55, 0.05, 0.47]]
    return Atoms('NaClMgCl', scaled_positions=scaled, cell=cell, pbc=True)


def turned(graph: AtomGraph, matrix: torch.Tensor) -> AtomGraph:
    return replace(graph, positions=graph.positions @ matrix.T, cell=graph.cell @ matrix.T)


@pytest.mark.parametrize('self_term', ['predicted', 'sum rule'])
def test_blocks_turn_with_the_crystal_and_do_not_change_under_inversion(modules, self_term):
    _, networks, training = modules
    torch.manual_seed(1)
    config = DXConfig(species=(11, 12, 17), average_neighbours=12.0, **MODEL)
    network = networks.TensorNetwork(config, self_term, reach=5.0).double()
    # float32 on the way would leave its rounding in them
    network.forms.copy_(networks._quadratic_forms())
    pairs = training.pairs_in(triclinic(), network)
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    rotation *= torch.linalg.det(rotation)
    with torch.no_grad():
        blocks, own = network(pairs)
        size = blocks.abs().max()
        # all three parts are there: identity, antisymmetric, symmetric traceless
        antisymmetric = (blocks - blocks.transpose(1, 2)).abs().max()
        assert antisymmetric > 1e-3 * size
        for matrix in (rotation, -torch.eye(3, dtype=torch.float64), -rotation):
            there = replace(pairs, near=turned(pairs.near, matrix), far=turned(pairs.far, matrix))
            for found, before in zip(network(there), (blocks, own), strict=True):
                assert (found - matrix @ before @ matrix.T).abs().max() < 1e-12 * size
    assert torch.equal(blocks, blocks[pairs.reverse].transpose(1, 2))
    if self_term == 'sum rule':
        assert (pairs.far.sum_to_centres(blocks) + own).abs().max() < 1e-13 * size
    else:
        assert torch.equal(own, own.transpose(1, 2))


def test_blocks_of_the_primitive_cell_fill_a_supercell(modules):
    """Each pair once, images summed: as from the pairs of the supercell itself."""
    _, networks, training = modules
    torch.manual_seed(2)
    config = DXConfig(species=(11, 17), average_neighbours=12.0, **MODEL)
    network = networks.TensorNetwork(config, reach=5.0).double()
    primitive = bulk('NaCl', 'rocksalt', a=5.64)
    supercell = primitive.repeat((2, 1, 2))
    found = []
    for cell in (primitive, supercell):
        pairs = training.pairs_in(cell, network)
        placed = training.place(cell, pairs, supercell.positions, np.array(supercell.cell))
        with torch.no_grad():
            found.append(placed.hessian(*network(pairs)))
    assert (found[0] - found[1]).abs().max() < 1e-12 * found[0].abs().max()


def test_it_learns_springs(modules, tmp_path, monkeypatch):
    benchmark, _, training = modules
    write_springs(tmp_path / 'springs')
    reference = load_reference(tmp_path / 'springs')
    # a step for each unit of "time": how many there are must not depend on the machine
    monkeypatch.setattr(training, '_seconds_of_a_step', lambda lesson, network: 1.0)
    config = default_config([reference], **MODEL)
    network, curve = training.train(reference, config, 60, 0, default_recipe(0, 1), self_term='sum rule', reach=5.0)
    assert curve[-1]['step'] == 60
    assert curve[-1]['loss'] < 0.1 * curve[0]['loss']
    array = training.force_constants(network, reference)[benchmark.phonopy_of(reference).primitive.p2s_map]
    errors = benchmark.errors(array, reference)
    assert errors['relative_frobenius'] < 0.3
    assert errors['frequency_mae_THz'] < 0.3 * errors['frequency_predict_zero_THz']


def test_smoke(modules, tmp_path, monkeypatch):
    benchmark, _, training = modules
    write_springs(tmp_path / 'springs')
    monkeypatch.setattr(training, 'TIMED_STEPS', 3)
    monkeypatch.setattr('hessian_training.TIMED_STEPS', 3)
    benchmark.main(['--reference', str(tmp_path / 'springs'), '--seconds', '0.01', '--model', json.dumps(MODEL),
                    '--output', str(tmp_path / 'out')])  # fmt: skip
    rows = json.loads((tmp_path / 'out' / 'tensor_baseline.json').read_text())
    ways = [*benchmark.DX, *benchmark.TENSORS]
    assert [row['way'] for row in rows] == [*ways, 'DFT, learned from, unchanged']
    by_way = {row['way']: row for row in rows}
    # the two halves of springs agree; an energy obeys sum rule and permutation, and so does the second baseline
    assert by_way['DFT, learned from, unchanged']['relative_frobenius'] < 1e-6
    for way in ways:
        assert 0 < by_way[way]['relative_frobenius'] < 5
        exact = 'predicted' not in way
        assert (by_way[way]['acoustic_sum_residual_eV_per_A2'] < 1e-9) == exact
        assert by_way[way]['permutation_asymmetry_eV_per_A2'] < 1e-9
