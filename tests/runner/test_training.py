"""``task: train``: one command from force sets to a potential with a card; killed and resumed, the same weights."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from aiida_mlfc.cli.training import force_set_arrays, prepare_job
from aiida_mlfc.core.checkpoint_files import read_header
from aiida_mlfc.core.checkpoint_header import sha256_of
from aiida_mlfc.core.potentials.training import uncertainty
from aiida_mlfc.core.potentials.training.batches import prepare
from aiida_mlfc.core.potentials.training.defaults import TRIPLETS
from aiida_mlfc.core.potentials.training.recipe import Recipe
from aiida_mlfc.core.references.configurations import read_configurations
from aiida_mlfc.exchange.arrays import read_arrays
from aiida_mlfc.exchange.names import TRAINED_FILE
from aiida_mlfc.exchange.results import read_result
from aiida_mlfc.exchange.training_options import TrainOptions
from aiida_mlfc.runner import training, training_budget, training_data
from aiida_mlfc.runner.run import run_job
from aiida_mlfc.runner.training_data import read_force_set
from aiida_mlfc.runner.training_start import starting_model

from ..spring_sets import other_functional, write_springs
from .killing import wait_for_step

#: a dx of some thousand parameters, its expansion short enough for the springs of a small supercell
MODEL = {
    'channels': 4, 'n_heads': 2, 'n_layers': 1, 'cutoff': 3.2, 'radial_width': 8, 'n_radial': 4,
    'pair_cutoff': 5.0, 'triplet_cutoff': 4.0,
}  # fmt: skip
OPTIONS = {
    'name': 'toy', 'steps': 60, 'model': MODEL, 'checkpoint_minutes': 0.0, 'edges_per_step': 200,
    'uncertainty_members': 0,
}  # fmt: skip


@pytest.fixture(scope='module')
def springs(tmp_path_factory):
    folder = tmp_path_factory.mktemp('sets') / 'springs'
    write_springs(folder)
    return folder


@pytest.fixture(scope='module')
def trained(springs, tmp_path_factory):
    folder = tmp_path_factory.mktemp('job')
    prepare_job([springs], folder, OPTIONS)
    assert run_job(folder) == 0
    return folder


def weights(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / TRAINED_FILE)


def test_card_and_result(trained):
    header = read_header(trained / TRAINED_FILE)
    assert header.species == [11, 17]
    (errors,) = header.card['errors on configurations never seen']
    data = read_result(trained, 'r00000')['data']
    assert data['held_back']
    assert data['n_configurations'] == data['n_configurations_learned'] == 6
    assert errors == {key: data[key] for key in errors}
    assert 0 < errors['relative_frobenius_percent'] < 200
    (entry,) = header.card['training data']
    assert (entry['formula'], entry['sg'], entry['functional']) == ('NaCl', 'Fm-3m (225)', 'springs')
    assert entry['configurations learned'] == 6
    assert header.card['validity']['has_stress'] is True
    # neighbours within 3.2 Å in rock salt: six
    assert header.config['average_neighbours'] == 6.0


def test_charges_are_learned_where_none_are_known(springs, tmp_path):
    prepare_job([springs], tmp_path, {**OPTIONS, 'steps': 20, 'model': {**MODEL, 'electrostatics': True}})
    assert run_job(tmp_path) == 0
    header = read_header(tmp_path / TRAINED_FILE)
    entry = header.card['latent charges']
    assert entry['from'] == 'learned with the weights'
    charges = entry['elementary charges, Z*/√ε∞']
    assert set(charges) == {'Na', 'Cl'}
    np.testing.assert_allclose(list(charges.values()), weights(tmp_path)['electrostatics.charges'], atol=1e-4)


def test_charges_are_taken_where_they_are_known(springs, tmp_path):
    job = tmp_path / 'job'
    prepare_job([springs], job, OPTIONS)
    reference = read_force_set(read_arrays(next((job / 'inputs').glob('*.hdf5'))))
    born = {'born': np.array([np.eye(3), -np.eye(3)]), 'dielectric': 4.0 * np.eye(3), 'factor': 14.4}
    options = TrainOptions(model={**MODEL, 'electrostatics': True})
    model, _ = starting_model([replace(reference, born=born)], options, job)
    assert model.long_range.charges.tolist() == [0.5, -0.5]
    assert not model.long_range.charges.requires_grad
    assert 'Born' in model.long_range.origin


def test_killed_and_resumed_gives_the_same_weights(springs, trained, tmp_path):
    """SIGKILL between two checkpoints, then SIGTERM, then to the end."""
    prepare_job([springs], tmp_path, OPTIONS)
    program = [sys.executable, '-c', 'from aiida_mlfc.runner.run import main; main()', str(tmp_path)]
    log = tmp_path / 'training' / 'log.jsonl'
    for number, step, code in ((signal.SIGKILL, 0, -signal.SIGKILL), (signal.SIGTERM, 5, 143)):
        process = subprocess.Popen(program, stderr=subprocess.PIPE)
        wait_for_step(tmp_path, step, process)
        process.send_signal(number)
        process.communicate(timeout=120)
        assert process.returncode == code
        assert not (tmp_path / TRAINED_FILE).exists()
    assert run_job(tmp_path) == 0
    found, expected = weights(tmp_path), weights(trained)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=0, atol=1e-6)
    assert [json.loads(line)['step'] for line in log.read_text().splitlines()] == [50, 60]


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'seed': 1}, 'another recipe'),
        ({'model': {**MODEL, 'channels': 8}}, 'other model settings'),
        ({'hold_back': False}, 'other data'),
    ],
)
def test_state_of_something_else_is_refused(springs, trained, change, message):
    prepare_job([springs], trained, {**OPTIONS, **change})
    before = weights(trained)
    assert run_job(trained) == 4
    assert message in read_result(trained, 'r00000')['error']['message']
    assert all(np.array_equal(value, before[name]) for name, value in weights(trained).items())


def test_unknown_settings_are_refused(springs, tmp_path):
    prepare_job([springs], tmp_path, {**OPTIONS, 'recipe': {'learning_rat': 1e-3}})
    assert run_job(tmp_path) == 4
    assert "got ['learning_rat']" in read_result(tmp_path, 'r00000')['error']['message']


def test_default_steps_follow_the_cost(springs):
    """Cheap steps: the most; a step of ten times the edges that are affordable: the fewest."""
    import torch

    from aiida_mlfc.core.potentials.dx.model import DXModel
    from aiida_mlfc.core.potentials.training import defaults
    from aiida_mlfc.core.potentials.training.loop import prepare
    from aiida_mlfc.runner.training_data import read_force_set

    (reference,) = read_configurations([springs])
    force_set = read_force_set(force_set_arrays(reference))
    torch.manual_seed(0)
    material = prepare(force_set, DXModel(defaults.default_config([force_set], **MODEL)))
    recipe = defaults.default_recipe(0, 1, supercell_share=1.0, n_undisplaced=1)
    edges = material.supercell.n_edges + material.cells[0].graph.n_edges
    mean = np.mean([cell.graph.n_edges for cell in material.cells])
    assert defaults.default_steps([material], recipe) == defaults.MOST_STEPS
    many = [material] * round(5000 / mean)
    assert defaults.default_steps(many, recipe) == int(defaults.EDGES_IN_ALL / (edges + len(many) * mean))
    assert defaults.default_steps(many * 10, recipe) == defaults.FEWEST_STEPS
    # a batch is filled, but not beyond measure
    assert len(defaults.repeated([material], edges=round(3 * mean))) == 3
    assert len(defaults.repeated([material], edges=10**6)) == defaults.MOST_REPEATS


def test_minutes_become_steps_once(springs, tmp_path):
    prepare_job([springs], tmp_path, {**OPTIONS, 'minutes': 0.001, 'checkpoint_minutes': 1.0})
    assert run_job(tmp_path) == 0
    plan = json.loads((tmp_path / 'training' / 'plan.json').read_text())
    assert plan == {'minutes': 0.001, 'n_steps': 100}
    assert read_header(tmp_path / TRAINED_FILE).card['steps of each stage'] == [100]


def test_an_expansion_is_as_fine_as_its_elements_allow(springs, tmp_path):
    prepare_job([springs], tmp_path, OPTIONS)
    reference = read_force_set(read_arrays(next((tmp_path / 'inputs').glob('*.hdf5'))))
    network = {key: value for key, value in MODEL.items() if 'cutoff' not in key}
    config = starting_model([reference], TrainOptions(model=network), tmp_path)[0].config
    assert (config.triplet_cutoff, config.triplet_spacing) == TRIPLETS[0]
    config = starting_model([reference], TrainOptions(model=MODEL), tmp_path)[0].config
    assert config.triplet_cutoff == MODEL['triplet_cutoff']


def test_what_the_expansion_takes_is_part_of_the_budget(springs, tmp_path):
    prepare_job([springs], tmp_path, OPTIONS)
    reference = read_force_set(read_arrays(next((tmp_path / 'inputs').glob('*.hdf5'))))
    model, _ = starting_model([reference], TrainOptions(model=MODEL), tmp_path)
    materials = [prepare(reference, model)]
    found = []
    for spent in (0.0, 60.0):
        folder = tmp_path / f'{spent:.0f}'
        folder.mkdir()
        found.append(training_budget.steps_in(folder, model, materials, Recipe(n_steps=1), 1.0, spent))
    assert found[0] > found[1] == training_budget.FEWEST_STEPS


def test_mixtures_are_refused(springs, tmp_path):
    write_springs(tmp_path / 'pbe', functional='PBE 400 eV')
    write_springs(tmp_path / 'pbesol', functional='PBEsol')
    write_springs(tmp_path / 'larger', lattice=5.70)
    for others, message in (
        (['pbe', 'pbesol'], 'different functionals are never learned together: PBE: pbe; PBEsol: pbesol'),
        (['pbe', 'larger'], 'different functionals'),
    ):
        folder = tmp_path / f'job-{len(message)}'
        prepare_job([tmp_path / name for name in others], folder, {**OPTIONS, 'steps': 2})
        assert run_job(folder) == 4
        assert message in read_result(folder, 'r00000')['error']['message']
        assert not (folder / TRAINED_FILE).exists()
    folder = tmp_path / 'job-volume'
    prepare_job([springs, tmp_path / 'larger'], folder, {**OPTIONS, 'steps': 2})
    assert run_job(folder) == 4
    assert 'at volumes that differ by 3.2 %' in read_result(folder, 'r00001')['error']['message']


def test_a_bad_set_among_good_ones_is_left_out(springs, tmp_path):
    """A job that did not go through the command: what is bad is found on the node, too."""
    folder = tmp_path / 'job'
    write_springs(tmp_path / 'again')
    prepare_job([springs, tmp_path / 'again'], folder, {**OPTIONS, 'steps': 2})
    from aiida_mlfc.exchange.arrays import read_arrays, write_arrays

    path = folder / 'inputs' / 'r00001.hdf5'
    content = read_arrays(path)
    content['forces'][3, 2, 1] = np.nan
    write_arrays(path, content)
    assert run_job(folder) == 4
    assert 'not a finite number' in read_result(folder, 'r00001')['error']['message']
    assert read_result(folder, 'r00000')['status'] == 'ok'
    card = read_header(folder / TRAINED_FILE).card
    assert list(card['references left out']) == ['again']
    assert [entry['name'] for entry in card['training data']] == ['springs']


def test_errors_that_cannot_be_measured_cost_no_potential(springs, tmp_path, monkeypatch):
    """Of one set of two, and the ensemble, whose members are all alike: both after the last step."""
    folder = tmp_path / 'job'
    write_springs(tmp_path / 'again')
    original = training.evaluate

    def evaluated(model, reference):
        if reference.name == 'again':
            raise np.linalg.LinAlgError('Eigenvalues did not converge')
        return original(model, reference)

    monkeypatch.setattr(training, 'evaluate', evaluated)
    monkeypatch.setattr(training_data, 'check_copies', lambda references: None)
    monkeypatch.setattr(
        uncertainty, 'draw_members', lambda model, *_: np.zeros((3, uncertainty.last_layer(model).in_features))
    )
    # the last layer's: an expansion has draws of its own
    options = {**OPTIONS, 'steps': 2, 'uncertainty_members': 3, 'expansion': False}
    prepare_job([springs, tmp_path / 'again'], folder, options)
    assert run_job(folder) == 4
    error = read_result(folder, 'r00001')['error']['message']
    assert error == 'its errors could not be measured: LinAlgError: Eigenvalues did not converge'
    data = read_result(folder, 'r00000')['data']
    assert data['potential_sha256'] == sha256_of(folder / TRAINED_FILE)
    card = read_header(folder / TRAINED_FILE).card
    good, bad = card['errors on configurations never seen']
    assert good['relative_frobenius_percent'] == data['relative_frobenius_percent']
    assert bad == {'material': 'again', 'error': 'LinAlgError: Eigenvalues did not converge'}
    assert card['known problems']['NaCl'] == 'its errors could not be measured'
    assert [entry['name'] for entry in card['training data']] == ['springs', 'again']
    assert 'references left out' not in card
    assert 'uncertainty' not in card
    assert 'the spread of the ensemble is 0 THz' in card['uncertainty could not be calibrated']


def test_set_with_another_functional_mixed_in_never_reaches_the_job(tmp_path):
    write_springs(tmp_path / 'mixed', other_functional)
    (refusal,) = read_configurations([tmp_path / 'mixed'])
    assert 'another functional' in refusal.error


def test_force_sets_of_an_earlier_training_are_gone(springs, tmp_path):
    write_springs(tmp_path / 'others' / 'first')
    write_springs(tmp_path / 'others' / 'second', lattice=5.5)
    job = tmp_path / 'job'
    prepare_job([tmp_path / 'others'], job, OPTIONS)
    assert len(list((job / 'inputs').iterdir())) == 2
    prepare_job([springs], job, OPTIONS)
    assert [path.stem for path in (job / 'inputs').iterdir()] == ['r00000']
