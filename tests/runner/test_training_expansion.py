"""``task: train`` with a cluster expansion: solved for at once, the network only where steps are asked for."""

import numpy as np
import pytest
from ase.build import bulk
from safetensors.numpy import load_file

from aiida_mlfc import compute_force_constants
from aiida_mlfc.cli.training import prepare_job
from aiida_mlfc.core.checkpoint_files import read_header
from aiida_mlfc.core.potentials.registry import load_potential
from aiida_mlfc.core.potentials.validity import OutsideTrainingError
from aiida_mlfc.exchange.names import TRAINED_FILE, TRAINING
from aiida_mlfc.runner import training
from aiida_mlfc.runner.run import run_job
from aiida_mlfc.runner.uncertainty import frequency_spread

from ..spring_sets import write_springs
from .test_training import MODEL, OPTIONS


@pytest.fixture(scope='module')
def springs(tmp_path_factory):
    folder = tmp_path_factory.mktemp('sets') / 'springs'
    write_springs(folder)
    return folder


def trained(springs, folder, **options):
    prepare_job([springs], folder, OPTIONS | options)
    assert run_job(folder) == 0
    header = read_header(folder / TRAINED_FILE)
    (errors,) = header.card['errors on configurations never seen']
    return header, errors


def test_what_is_done_is_told(springs, tmp_path, capsys):
    trained(springs, tmp_path, steps=0)
    said = capsys.readouterr().err
    assert 'expansion: rows of springs, 1 of 1\n' in said
    assert 'expansion: solving for ' in said
    assert ' % of the forces learned are left' in said


@pytest.fixture(scope='module')
def alone(springs, tmp_path_factory):
    folder = tmp_path_factory.mktemp('alone')
    return folder, *trained(springs, folder, steps=0)


def test_the_expansion_alone_is_the_default(alone):
    folder, header, errors = alone
    assert header.card['steps of each stage'] == [0]
    assert header.config['expansion_systems'] == [[11, 17]]
    entry = header.card['cluster expansion']
    model = load_potential(folder / TRAINED_FILE)
    assert entry['coefficients'] == model.expansion.n_coefficients
    assert model.is_silent
    assert errors['relative_frobenius_percent'] < 5
    assert not (folder / TRAINING / 'log.jsonl').exists()
    assert header.card['validity']['elements_together'] == [['Cl', 'Na']]
    with pytest.raises(OutsideTrainingError, match=r'^Na: '):
        compute_force_constants(bulk('Na'), [2, 2, 2], model)


def test_without_it_the_network_has_to_learn_everything(springs, tmp_path, alone):
    header, errors = trained(springs, tmp_path, expansion=False)
    assert 'elements_together' not in header.card['validity']
    assert header.config['expansion_systems'] == []
    assert 'cluster expansion' not in header.card
    assert errors['relative_frobenius_percent'] > 5 * alone[2]['relative_frobenius_percent']


def test_a_network_beside_it_is_trained_where_steps_are_asked_for(springs, tmp_path, alone):
    header, errors = trained(springs, tmp_path, steps=40)
    assert header.card['steps of each stage'] == [40]
    assert not load_potential(tmp_path / TRAINED_FILE).is_silent
    # solved for once more, beside a network that says something
    own, other = (load_file(folder / TRAINED_FILE)['expansion.pair_coefficients'] for folder in (tmp_path, alone[0]))
    assert np.abs(own - other).max() > 0
    assert errors['relative_frobenius_percent'] < 5


def test_the_same_data_give_the_same_coefficients(springs, tmp_path, alone):
    trained(springs, tmp_path, steps=0)
    own, other = load_file(tmp_path / TRAINED_FILE), load_file(alone[0] / TRAINED_FILE)
    assert all(np.array_equal(own[name], other[name]) for name in other)


def test_uncertainty_is_that_of_the_expansion(springs, tmp_path, alone):
    header, _ = trained(springs, tmp_path, steps=0, uncertainty_members=3)
    entry = header.card['uncertainty']
    assert header.config['expansion_members'] == entry['n_members'] == 3
    assert entry['method'].startswith('posterior of the cluster expansion')
    assert list(entry['rms spread and error in THz']) == ['springs']
    model = load_potential(tmp_path / TRAINED_FILE)
    crystal = bulk('NaCl', 'rocksalt', a=5.6)
    spread = frequency_spread(compute_force_constants(crystal, [2, 2, 2], model), model)
    assert 0 < spread < 20 * entry['rms error there in THz']
    # the same coefficients with and without
    own, other = (load_file(folder / TRAINED_FILE)['expansion.pair_coefficients'] for folder in (tmp_path, alone[0]))
    assert np.allclose(own, other, rtol=1e-5, atol=1e-6)


def test_charges_that_nobody_knows_are_learned_beside_it(springs, tmp_path, monkeypatch):
    monkeypatch.setattr(training, 'default_steps', lambda materials, recipe: 10)
    header, _ = trained(springs, tmp_path, steps=0, model={**MODEL, 'electrostatics': True})
    assert header.card['steps of each stage'] == [10]
    assert header.card['latent charges']['from'] == 'learned with the weights'


def test_it_says_that_the_network_is_not_trained(springs, tmp_path, capsys):
    trained(springs, tmp_path, steps=0)
    assert 'the network is not trained, no steps were asked for' in capsys.readouterr().err
