"""``task: train`` with settings: two stages and validation, materials held back, E0s, fine-tuning, uncertainty."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.build import bulk
from safetensors.numpy import load_file

from aiida_mlfc.cli.training import prepare_job
from aiida_mlfc.core.checkpoint_files import read_header
from aiida_mlfc.core.potentials.ensemble import UNCERTAINTY
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.mattersim.weights import load_mattersim
from aiida_mlfc.core.potentials.registry import load_potential
from aiida_mlfc.core.references.configurations import read_configurations
from aiida_mlfc.exchange.job import Job, structure_arrays, write_job
from aiida_mlfc.exchange.names import TRAINED_FILE, TRAINED_FILES
from aiida_mlfc.exchange.results import read_result
from aiida_mlfc.runner.bloch_phases import frequencies
from aiida_mlfc.runner.dynamical_matrices import dynamical_matrices
from aiida_mlfc.runner.force_constants import compute_force_constants
from aiida_mlfc.runner.run import run_job
from aiida_mlfc.runner.training import Trainer

from ..core.potentials.mattersim.reference_values import TINY
from ..spring_sets import write_springs
from .test_training import OPTIONS

TWO_STAGES = {
    **OPTIONS, 'steps': 12, 'stage_two': True, 'start_stage_two': 0.5, 'valid_fraction': 0.34, 'patience': 9,
    'eval_interval': 4, 'amsgrad': True, 'clip_grad': 10, 'lr': 0.02, 'uncertainty_members': 3,
}  # fmt: skip


@pytest.fixture(scope='module')
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp('sets')
    write_springs(folder / 'salt', energies={'Na': -1.0, 'Cl': -4.0})
    return folder


@pytest.fixture(scope='module')
def two_stages(sets, tmp_path_factory):
    folder = tmp_path_factory.mktemp('job')
    prepare_job([sets / 'salt'], folder, TWO_STAGES)
    assert run_job(folder) == 0, read_result(folder, 'r00000')
    return folder


def rows_of(folder):
    return [json.loads(line) for line in (folder / 'training' / 'log.jsonl').read_text().splitlines()]


def test_two_stages_on_the_card(two_stages):
    card = read_header(two_stages / TRAINED_FILE).card
    (recipe,) = card['recipe']
    assert (recipe['start_stage_two'], recipe['amsgrad'], recipe['clip'], recipe['learning_rate']) == (0.5, 1, 10, 0.02)
    (validation,) = card['validation']
    seen = [row['valid_frequency_mae'] for row in rows_of(two_stages) if 'valid_frequency_mae' in row]
    assert len(seen) == 3
    assert validation['frequency_mae_THz'] == min(seen)
    # twelve configurations: six held back, a third of the rest set aside
    assert validation['configurations'] == {'salt': 2}
    assert card['training data'][0]['configurations learned'] == 4
    assert read_result(two_stages, 'r00000')['data']['n_configurations'] == 6


def test_stopped_in_stage_two(sets, two_stages, tmp_path, monkeypatch):
    prepare_job([sets / 'salt'], tmp_path, TWO_STAGES)
    run, asked = Trainer.run, iter([False] * 8 + [True])
    monkeypatch.setattr(Trainer, 'run', lambda self, report, stop: run(self, report, asked.__next__))
    assert run_job(tmp_path) == 143
    assert not (tmp_path / TRAINED_FILE).exists()
    monkeypatch.undo()
    assert run_job(tmp_path) == 0
    found, expected = load_file(tmp_path / TRAINED_FILE), load_file(two_stages / TRAINED_FILE)
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=0, atol=1e-6)
    ours, theirs = ([{k: v for k, v in row.items() if k != 'seconds'} for row in rows_of(f)]
                    for f in (tmp_path, two_stages))  # fmt: skip
    assert [row for row in ours if 'valid_frequency_mae' in row] == [r for r in theirs if 'valid_frequency_mae' in r]


def test_energy_of_the_crystal_is_that_of_the_data(sets, two_stages):
    """Though only forces were learned: -5 eV a pair, and on the card what displaced ones are wrong by."""
    model = load_potential(two_stages / TRAINED_FILE)
    graph = build_graph(bulk('NaCl', 'rocksalt', a=5.64), model.cutoff, model.species)
    assert model(graph).item() == pytest.approx(-5.0, abs=1e-5)
    (row,) = read_header(two_stages / TRAINED_FILE).card['errors on configurations never seen']
    assert 0 < row['energy_rmse_meV_per_atom'] < 3


@pytest.mark.parametrize(('said', 'expected'), [('zero', [0, 0]), ('{"Na": -1.5, "Cl": -2.25}', [-1.5, -2.25])])
def test_reference_energies_that_are_given_stay(sets, tmp_path, said, expected):
    prepare_job([sets / 'salt'], tmp_path, {**OPTIONS, 'steps': 1, 'E0s': said})
    assert run_job(tmp_path) == 0
    assert load_potential(tmp_path / TRAINED_FILE).reference_energies.tolist() == expected


def test_ensemble_is_calibrated_and_seen(sets, two_stages, tmp_path):
    """The card holds it, and the task that makes force constants gives a number with it."""
    entry = read_header(two_stages / TRAINED_FILE).card[UNCERTAINTY]
    assert entry['calibrated on'] == 'validation: salt'
    assert entry['rms spread there in THz'] == pytest.approx(entry['rms error there in THz'], rel=0.02)
    options = {'supercell_matrix': [2, 2, 2], 'truncation_qpoints': 0}
    (tmp_path / TRAINED_FILE).write_bytes((two_stages / TRAINED_FILE).read_bytes())
    salt = bulk('NaCl', 'rocksalt', a=5.64)
    job = Job('force_constants', options, {'salt': 'salt'}, TRAINED_FILE)
    inputs = {'salt': {'structure': structure_arrays(salt)}}
    write_job(tmp_path, job, inputs)
    assert run_job(tmp_path) == 0
    spread = read_result(tmp_path, 'salt')['data']['quality']['uncertainty']
    write_job(tmp_path, replace(job, options={**options, 'uncertainty': False}), inputs)
    assert run_job(tmp_path) == 0
    assert read_result(tmp_path, 'salt')['data']['quality']['uncertainty'] is None
    # what it claims to be: about as large as the error, on the mesh of the supercell
    (reference,) = read_configurations([sets / 'salt'])
    mesh = np.array([(a, b, c) for a in (0, 0.5) for b in (0, 0.5) for c in (0, 0.5)])
    expected = reference.force_constants.to_phonopy().run_qpoints(mesh).frequencies
    found = frequencies(dynamical_matrices(salt, mesh, load_potential(two_stages / TRAINED_FILE)))
    error = np.sqrt(np.mean((found - expected) ** 2))
    assert 0.4 < spread / error < 2.5


def test_valid_fraction_that_leaves_nothing(sets, tmp_path):
    prepare_job([sets / 'salt'], tmp_path, {**OPTIONS, 'valid_fraction': 0.95})
    assert run_job(tmp_path) == 4
    message = read_result(tmp_path, 'r00000')['error']['message']
    assert 'valid_fraction 0.95 of 6 configurations, 0 left to learn from' in message


def test_materials_held_back_take_their_supercells_along(sets, tmp_path):
    """``again`` is the same crystal as ``salt``: neither is learned from."""
    write_springs(tmp_path / 'again')
    write_springs(tmp_path / 'mixed', formula='LiCl', lattice=5.6)
    write_springs(tmp_path / 'sodium', formula='NaF', lattice=5.6)
    job = tmp_path / 'job'
    names = ('again', 'mixed', 'sodium')
    options = {**OPTIONS, 'steps': 2, 'held_back_materials': ['salt'], 'uncertainty_members': 0}
    prepare_job([sets / 'salt', *(tmp_path / name for name in names)], job, options)
    assert run_job(job) == 0
    card = read_header(job / TRAINED_FILE).card
    assert [entry['name'] for entry in card['training data']] == ['mixed', 'sodium']
    assert [row['material'] for row in card['errors on materials never seen']] == ['salt', 'again']
    assert UNCERTAINTY not in card
    data = read_result(job, 'r00000')['data']
    assert (data['held_back'], data['n_configurations_learned'], data['n_configurations']) == (True, 0, 12)
    prepare_job([sets / 'salt', tmp_path / 'again'], tmp_path / 'none', options)
    assert run_job(tmp_path / 'none') == 4
    assert 'no force set is left' in read_result(tmp_path / 'none', 'r00000')['error']['message']
    prepare_job([sets / 'salt', tmp_path / 'mixed'], tmp_path / 'elements', options)
    assert run_job(tmp_path / 'elements') == 4
    assert 'nothing that is learned holds Na' in read_result(tmp_path / 'elements', 'r00000')['error']['message']


FINE_TUNING = {'name': 'tuned', 'steps': 6, 'foundation_model': str(TINY), 'lr': 1e-4, 'checkpoint_minutes': 0.0,
               'edges_per_step': 200, 'stage_two': True, 'uncertainty_members': 0}  # fmt: skip


def test_fine_tuning_mattersim(sets, tmp_path, monkeypatch):
    """The official layout comes back, the crystal's errors fall, and a stopped run ends with the same weights."""
    for name in ('whole', 'stopped'):
        prepare_job([sets / 'salt'], tmp_path / name, FINE_TUNING)
    assert run_job(tmp_path / 'whole') == 0, read_result(tmp_path / 'whole', 'r00000')
    run, asked = Trainer.run, iter([False] * 4 + [True])
    monkeypatch.setattr(Trainer, 'run', lambda self, report, stop: run(self, report, asked.__next__))
    assert run_job(tmp_path / 'stopped') == 143
    monkeypatch.undo()
    assert run_job(tmp_path / 'stopped') == 0
    file = TRAINED_FILES['mattersim']
    whole, stopped = (load_mattersim(tmp_path / name / file) for name in ('whole', 'stopped'))
    before = load_mattersim(TINY)
    moved = 0
    for name, value in whole.state_dict().items():
        np.testing.assert_allclose(stopped.state_dict()[name], value, rtol=0, atol=1e-6)
        moved += not torch.equal(before.state_dict()[name], value)
    # all parameters that two elements touch, and no buffer
    assert moved == len(list(whole.parameters()))
    official, ours = (torch.load(path, weights_only=True) for path in (TINY, tmp_path / 'whole' / file))
    assert set(official) <= set(ours)
    assert ours['model_args'] == official['model_args']
    assert [(k, v.shape, v.dtype) for k, v in ours['model'].items()] == [
        (k, v.shape, v.dtype) for k, v in official['model'].items()
    ]
    # and it is a potential like any other
    potential = load_potential(tmp_path / 'whole' / file)
    salt = bulk('NaCl', 'rocksalt', a=5.64)
    quality = compute_force_constants(salt, [1, 1, 1], potential, truncation_qpoints=0).quality
    assert quality.acoustic_sum_residual < 1e-8
    header = read_header(tmp_path / 'whole' / file)
    assert header.card['foundation model']['name'] == 'tiny-random'
    assert header.card['name'] == 'tuned'
    assert header.card['errors on configurations never seen'] == [
        {key: value for key, value in read_result(tmp_path / 'whole', 'r00000')['data'].items()
         if key not in ('held_back', 'n_configurations_learned', 'potential_sha256')}
    ]  # fmt: skip


def test_unknown_start(sets, tmp_path):
    from aiida_mlfc.core.checkpoint_header import CheckpointError

    with pytest.raises(CheckpointError, match='wanted a file or a shipped name'):
        prepare_job([sets / 'salt'], tmp_path, {**OPTIONS, 'foundation_model': 'no-such'})
    prepare_job([sets / 'salt'], tmp_path, {'name': 'x', 'steps': 1, 'foundation_model': 'dx-si'})
    assert run_job(tmp_path) == 4
    assert 'does not know Na, Cl' in read_result(tmp_path, 'r00000')['error']['message']
