"""Crystals evaluated in batches: the numbers of one by one, batches as large as the budget, lonely failures."""

import json
import weakref

import numpy as np
import pytest
import torch
from ase.build import bulk

from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.mattersim.weights import load_mattersim
from aiida_mlfc.core.potentials.registry import load_potential
from aiida_mlfc.exchange.arrays import read_arrays
from aiida_mlfc.exchange.job import structure_arrays
from aiida_mlfc.exchange.results import read_result
from aiida_mlfc.runner import packed_evaluation
from aiida_mlfc.runner import work as runner
from aiida_mlfc.runner.packed_evaluation import EdgeBudget, evaluate_packed
from aiida_mlfc.runner.run import run_job

from ..core.potentials.mattersim.reference_values import TINY
from ..core.small_systems import small_crystals
from .wells import LATTICE, DoubleWellBonds, simple_cubic


@pytest.fixture(params=['dx', 'mattersim'])
def model(request, tiny_checkpoint):
    return load_mattersim(TINY) if request.param == 'mattersim' else load_potential(tiny_checkpoint)


@pytest.fixture
def crystals():
    """Of 1 to 8 atoms."""
    crystals = small_crystals()
    return {
        'NaCl': crystals['rocksalt-rattled'], 'Si': crystals['diamond-rattled'], 'Al': bulk('Al', a=4.05),
        'Si8': bulk('Si', 'diamond', a=5.43, cubic=True), 'bent': bulk('NaCl', 'rocksalt', a=5.5),
    }  # fmt: skip


@pytest.fixture
def batches(monkeypatch):
    """Number of crystals of each batch that was evaluated; a list of messages with which those with Al are refused."""
    sizes, original = [], packed_evaluation.input_gradients

    def counted(model, graph):
        sizes.append(graph.n_systems)
        if (graph.atom_types[:, list(model.species).index(13)] > 0).any():
            for message in counted.refused:
                raise RuntimeError(message)
        return original(model, graph)

    counted.refused = []
    monkeypatch.setattr(packed_evaluation, 'input_gradients', counted)
    return sizes, counted.refused


def evaluated(crystals, model, folder, memory=None):
    """By key: the content of ``result.json``, and arrays, or the exception."""
    found = {}
    for key, outcome, seconds in evaluate_packed(
        crystals, lambda key: {'structure': structure_arrays(crystals[key])}, model, EdgeBudget(memory)
    ):
        assert seconds > 0
        if isinstance(outcome, Exception):
            found[key] = outcome
            continue
        data, write = outcome
        (folder / key).mkdir(parents=True)
        write(folder / key)
        found[key] = (data, read_arrays(folder / key / 'arrays.hdf5'))
    return found


def test_one_batch_and_one_by_one_are_the_same(model, crystals, batches, tmp_path):
    sizes, _ = batches
    together = evaluated(crystals, model, tmp_path / 'together')
    assert sizes == [1, 4]
    sizes.clear()
    alone = evaluated(crystals, model, tmp_path / 'alone', memory=1)
    assert sizes == [1] * 5
    assert list(together) == list(alone) == list(crystals)
    for key, (data, arrays) in together.items():
        expected, expected_arrays = alone[key]
        assert data['n_atoms'] == expected['n_atoms'] == len(crystals[key])
        assert data['energy'] == pytest.approx(expected['energy'], abs=1e-10)
        assert arrays.keys() == expected_arrays.keys()
        for name, value in arrays.items():
            np.testing.assert_allclose(value, expected_arrays[name], rtol=0, atol=1e-10)


def test_budget_is_what_was_measured(model, crystals):
    """Twice the memory is twice the edges; and what is kept for an edge does not depend on the crystal."""
    found = []
    for name in ('Si', 'Si8'):
        budget = EdgeBudget(memory=1e6)
        assert budget.edges(torch.device('cpu')) == 0
        list(evaluate_packed([name], lambda key: {'structure': structure_arrays(crystals[key])}, model, budget))
        assert budget.edges(torch.device('cpu')) == 1e6 / budget.bytes_per_edge
        found.append(budget.bytes_per_edge)
    assert found[0] == pytest.approx(found[1], rel=0.3)
    # at least one feature vector in float64 for each edge
    assert min(found) > 8 * 4
    default = EdgeBudget()
    default.bytes_per_edge = found[0]
    assert default.edges(torch.device('cpu')) <= packed_evaluation.BATCH_MEMORY / found[0]


def test_batches_end_where_the_budget_does(crystals, tmp_path, batches):
    sizes, _ = batches
    model = load_mattersim(TINY)
    many = {f'Si{k}': crystals['Si'] for k in range(7)}
    kept = EdgeBudget()
    read = {'structure': structure_arrays(crystals['Si'])}
    list(evaluate_packed(['Si'], lambda key: read, model, kept))
    edges = build_graph(crystals['Si'], model.cutoff, model.species).n_edges
    sizes.clear()
    evaluated(many, model, tmp_path, memory=3.5 * edges * kept.bytes_per_edge)
    assert sizes == [1, 3, 3]


def test_a_crystal_that_fails_inside_a_batch_fails_alone(crystals, tmp_path, batches):
    sizes, refused = batches
    refused.append('the sky is falling')
    model = load_mattersim(TINY)
    found = evaluated(crystals, model, tmp_path / 'with')
    # NaCl first; then four, of which Al is the second: halves until it stands alone
    assert sizes == [1, 4, 2, 1, 1, 2]
    assert str(found.pop('Al')) == 'the sky is falling'
    rest = {key: atoms for key, atoms in crystals.items() if key != 'Al'}
    for key, (data, _) in evaluated(rest, model, tmp_path / 'without').items():
        assert found[key][0]['energy'] == pytest.approx(data['energy'], abs=1e-10)


def test_nothing_of_a_failed_batch_is_left_when_its_halves_are_tried(tmp_path, crystals, monkeypatch):
    """On a GPU what is left would refuse the halves their memory, too."""
    original, seen, still_there = packed_evaluation.input_gradients, [], []

    def refusing(model, graph):
        still_there.append(sum(one() is not None for one in seen))
        seen.append(weakref.ref(graph.positions))
        found = original(model, graph)
        seen.append(weakref.ref(found.energy))
        if graph.n_systems > 1:
            raise RuntimeError('CUDA out of memory')
        return found

    monkeypatch.setattr(packed_evaluation, 'input_gradients', refusing)
    found = evaluated(crystals, load_mattersim(TINY), tmp_path)
    assert not any(isinstance(one, Exception) for one in found.values())
    # one; four, two, one, one, two, one, one
    assert still_there == [0] * 8


def test_energies_that_are_no_numbers_are_errors(tmp_path):
    """A root of what becomes negative where bonds are short: NaN of one crystal in the middle of a batch."""

    class Roots(DoubleWellBonds):
        def bond(self, r):
            return torch.sqrt(r - 0.9 * LATTICE)

        def forward(self, graph):
            # the gradient of types is asked for, too: 1 eV for each atom
            return super().forward(graph) + graph.sum_to_systems(graph.atom_types.sum(-1))

    rest, short = simple_cubic(), simple_cubic()
    short.set_cell(0.8 * short.cell.array, scale_atoms=True)
    found = evaluated({'first': rest, 'before': rest, 'short': short, 'after': rest}, Roots(), tmp_path)
    error = found.pop('short')
    assert isinstance(error, ValueError)
    assert 'got energy, forces, stress' in str(error)
    for data, arrays in found.values():
        # 6 first and 12 second neighbours, 8 third ones beyond the cutoff
        expected = (6 * np.sqrt(0.1 * LATTICE) + 12 * np.sqrt((np.sqrt(2) - 0.9) * LATTICE)) / 2 + 1
        assert data['energy'] == pytest.approx(expected)
        assert np.isfinite(arrays['stress']).all()


def test_bad_inputs_and_a_second_run(make_job, crystals, tmp_path, batches, monkeypatch):
    """What cannot be read or built never enters a batch; a job stopped in a batch keeps what was written of it."""
    sizes, _ = batches
    doubled = crystals['NaCl'].copy()
    doubled.positions[1] = doubled.positions[0]
    flat = crystals['Si'].copy()
    flat.cell[2] = 0
    folder = make_job(tmp_path, crystals | {'doubled': doubled, 'flat': flat, 'garbage': flat}, 'evaluate')
    (folder / 'inputs' / 'garbage.hdf5').write_bytes(b'garbage')
    original, written = runner.write_result, []

    def full_disk(folder, key, *arguments):
        if len(written) == 3:
            raise OSError(28, 'No space left on device')
        written.append(key)
        original(folder, key, *arguments)

    monkeypatch.setattr(runner, 'write_result', full_disk)
    assert run_job(folder) == 5
    monkeypatch.setattr(runner, 'write_result', original)
    before = {key: (folder / 'results' / key / 'result.json').stat().st_ino for key in written}
    sizes.clear()
    assert run_job(folder) == 4
    assert sum(sizes) == len(crystals) - sum(key in crystals for key in written)
    assert all((folder / 'results' / key / 'result.json').stat().st_ino == stamp for key, stamp in before.items())
    assert json.loads((folder / 'results.json').read_text())['failed'] == ['doubled', 'flat', 'garbage']
    assert all(read_result(folder, key)['status'] == 'ok' for key in crystals)
    for key, message in (('doubled', 'one site'), ('flat', 'lattice missing'), ('garbage', 'cannot be read')):
        error = read_result(folder, key)['error']
        assert message in error['message']
        assert 'Traceback' in error['traceback']
