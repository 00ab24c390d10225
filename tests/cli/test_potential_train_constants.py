"""``aiida-mlfc potential train`` and ``evaluate`` on force constants that come without forces."""

import json

import pytest
import yaml

from ..spring_sets import write_spring_constants

CONFIG = {
    'model': {'channels': 4, 'n_heads': 2, 'n_layers': 1, 'cutoff': 3.2, 'radial_width': 8, 'n_radial': 4,
              'pair_cutoff': 5.0, 'triplet_cutoff': 4.0},
    'uncertainty_members': 0,
}  # fmt: skip


def without_own(array):
    array[range(len(array)), range(len(array))] = 0


@pytest.fixture(scope='module')
def trained(make_command, tmp_path_factory):
    """One good set, one that is none, by the command as it stands."""
    folder, command = tmp_path_factory.mktemp('train'), make_command()
    write_spring_constants(folder / 'sets' / 'springs', 'compact')
    write_spring_constants(folder / 'sets' / 'torn', change=without_own)
    (folder / 'config.yaml').write_text(yaml.safe_dump(CONFIG))
    output = folder / 'springs.safetensors'
    done = command(
        'potential', 'train', '--reference', folder / 'sets', '-o', output, '--config', folder / 'config.yaml', '--json'
    )
    return command, done, output, folder


def test_good_one_is_learned_and_the_bad_one_named(trained):
    command, done, output, _ = trained
    assert done.returncode == 1, done.stderr
    good, bad = json.loads(done.stdout)
    assert (good['name'], good['status'], good['part']) == ('springs', 'ok', 'learned')
    assert good['n_configurations'] == good['n_configurations_learned'] == 0
    assert good['force_rmse'] is None
    assert good['relative_frobenius'] < 0.01
    assert bad['name'] == 'torn'
    assert 'FORCE_CONSTANTS: the force constants of atom 1 (Na) add up to' in bad['error']
    assert 'torn is left out: FORCE_CONSTANTS' in done.stderr
    card = yaml.safe_load(command('potential', 'show', output).stdout)['card']
    assert card['learned from force constants alone']['materials'] == ['springs']


@pytest.mark.parametrize('form', ['full', 'params'])
def test_evaluate_says_that_it_was_learned(trained, form):
    command, done, output, folder = trained
    write_spring_constants(folder / form / 'springs', form)
    arguments = ('potential', 'evaluate', '--potential', output, '--reference', folder / form)
    (row,) = json.loads(command(*arguments, '--json').stdout)
    assert (row['status'], row['part'], row['n_configurations']) == ('ok', 'learned', 0)
    assert row['force_rmse'] is None
    learned = json.loads(done.stdout)[0]
    for key in ('relative_frobenius', 'frequency_mae', 'frequency_max_error'):
        assert row[key] == pytest.approx(learned[key], rel=1e-4), key
    assert 'springs (learned)' in command(*arguments).stdout
    asked = command(*arguments, '--part', 'held-back')
    assert asked.returncode == 1
    assert 'holds force constants, no configurations that could be held back' in asked.stdout


def test_nothing_but_what_is_refused(make_command, tmp_path):
    command = make_command()
    write_spring_constants(tmp_path / 'torn', change=without_own)
    done = command('potential', 'train', '--reference', tmp_path / 'torn', '-o', tmp_path / 'x.safetensors')
    assert done.returncode == 1
    assert 'there is nothing to learn from' in done.stderr
    write_spring_constants(tmp_path / 'springs')
    asked = ('--reference', tmp_path / 'springs', '-o', tmp_path / 'x.safetensors', '--valid_fraction', 0.2)
    done = command('potential', 'train', *asked)
    assert done.returncode == 1
    assert 'valid_fraction 0.2: springs holds force constants and no configurations' in done.stderr
