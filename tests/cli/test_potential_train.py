"""``aiida-mlfc potential train``: as people use it, stopped and continued, with settings of their own."""

import json
import signal
import time
from pathlib import Path

import click
import numpy as np
import pytest
import yaml
from ase.data import chemical_symbols
from safetensors.numpy import load_file

from aiida_mlfc.cli.potential_train import _options, _with_energies
from aiida_mlfc.cli.training_settings import training_settings
from aiida_mlfc.exchange.training_options import train_options

from ..spring_sets import swapped, write_springs

CONFIG = {
    'model': {'channels': 4, 'n_heads': 2, 'n_layers': 1, 'cutoff': 3.2, 'radial_width': 8, 'n_radial': 4,
              'triplet_cutoff': 5.0, 'triplet_spacing': 0.7},
    'recipe': {'learning_rate': 0.01},
    'steps': 60,
    'edges_per_step': 200,
    'uncertainty_members': 0,
    'checkpoint_minutes': 0.0,
}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Two force sets, one of them broken, and the settings."""
    folder = tmp_path_factory.mktemp('train')
    write_springs(folder / 'sets' / 'good')
    write_springs(folder / 'sets' / 'swapped', swapped)
    (folder / 'config.yaml').write_text(yaml.safe_dump(CONFIG))
    return folder


@pytest.fixture(scope='module')
def whole(make_command, folder):
    """Trained in one go, on both sets."""
    command = make_command()
    output = folder / 'whole.safetensors'
    done = command(
        'potential', 'train', '--reference', folder / 'sets', '-o', output, '--config', folder / 'config.yaml', '--json'
    )
    return command, done, output


@pytest.mark.parametrize(('given', 'expected'), [((), True), (('--no-expansion',), False), (('--expansion',), True)])
def test_a_setting_that_is_on_can_be_switched_off(given, expected):
    command = click.command('train')(training_settings(lambda **arguments: arguments))
    parsed = command.main([*given], standalone_mode=False)
    options = _options({**parsed, 'config': None, 'learn_all': False, 'resume': False}, Path('x.safetensors'))
    assert train_options(options).expansion is expected


def test_bad_set_is_left_out_and_named(whole):
    command, done, output = whole
    assert done.returncode == 1, done.stderr
    good, bad = json.loads(done.stdout)
    assert (good['name'], good['status'], good['part']) == ('good', 'ok', 'held-back')
    assert good['n_configurations'] == good['n_configurations_learned'] == 6
    assert 0 < good['frequency_mae'] < good['frequency_predict_zero']
    assert bad['name'] == 'swapped'
    assert 'break the symmetry' in bad['error']
    assert 'step 60/60' in done.stderr
    shown = yaml.safe_load(command('potential', 'show', output).stdout)
    assert shown['name'] == 'whole'
    assert shown['card']['recipe'][0]['learning_rate'] == 0.01
    folder = output.parent / f'{output.name}.training' / 'training'
    assert [json.loads(line)['step'] for line in (folder / 'log.jsonl').open()] == [50, 60]
    assert (folder / 'learning_curve.png').stat().st_size > 5000


def test_evaluate_says_what_the_card_says(whole, folder):
    command, done, output = whole
    trained = json.loads(done.stdout)[0]
    evaluated = json.loads(
        command(
            'potential', 'evaluate', '--potential', output, '--reference', folder / 'sets' / 'good', '--json'
        ).stdout
    )[0]
    assert evaluated['part'] == 'held-back'
    for key in ('relative_frobenius', 'frequency_mae', 'frequency_max_error', 'force_rmse', 'force_predict_zero'):
        # weights go through float32 in training and in the file alike: the springs are learned to 2e-4
        assert evaluated[key] == pytest.approx(trained[key], rel=1e-4, abs=1e-6), key


def test_stopped_and_continued(make_command, folder, whole):
    command = make_command()
    output = folder / 'again.safetensors'
    arguments = (
        'potential',
        'train',
        '--reference',
        folder / 'sets' / 'good',
        '-o',
        output,
        '--name',
        'whole',
        '--config',
        folder / 'config.yaml',
    )
    nothing = command(*arguments, '--resume')
    assert 'there is no state to continue from' in nothing.stderr
    process = command.start(*arguments)
    state = folder / 'again.safetensors.training' / 'training' / 'training_state.pt'
    for _ in range(1200):
        if state.exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 143, (command.home / 'err').read_text()
    assert 'the same command continues' in (command.home / 'err').read_text()
    assert not output.exists()
    done = command(*arguments, '--resume')
    assert done.returncode == 0, done.stderr
    assert 'good (held back)' in done.stdout
    found, expected = load_file(output), load_file(whole[2])
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=0, atol=1e-6)
    other = command(*arguments, '--seed', 3)
    assert other.returncode == 1
    assert 'another recipe' in other.stderr


@pytest.mark.parametrize(
    ('extra', 'message'),
    [
        (('--steps', 5, '--minutes', 1), 'not both'),
        (('-o', 'potential.pth'), 'wanted NAME.safetensors'),
    ],
)
def test_what_is_refused(make_command, folder, extra, message):
    done = make_command()('potential', 'train', '--reference', folder / 'sets' / 'good', '-o', 'x.safetensors', *extra)
    assert done.returncode == 2
    assert message in done.stderr


def test_unknown_settings_and_missing_files(make_command, folder, tmp_path):
    command = make_command()
    (tmp_path / 'config.yaml').write_text('learning_rate: 1\n')
    reference = folder / 'sets' / 'good'
    done = command(
        'potential', 'train', '--reference', reference, '-o', 'x.safetensors', '--config', tmp_path / 'config.yaml'
    )
    assert "got ['learning_rate'], wanted keys of name, seed" in ' '.join(done.stderr.split())
    done = command('potential', 'train', '--reference', tmp_path / 'no', '-o', 'x.safetensors')
    assert 'there is no file or folder' in done.stderr
    done = command('potential', 'train', '--reference', folder / 'sets' / 'swapped', '-o', 'x.safetensors')
    assert done.returncode == 1
    assert 'there is nothing to learn from' in done.stderr


def test_names_that_mace_users_know(make_command, folder, tmp_path):
    """Both spellings, two stages, early stopping; every setting can be had as a file."""
    command = make_command()
    shown = command('potential', 'train', '--show-config')
    assert shown.returncode == 0, shown.stderr
    settings = yaml.safe_load(shown.stdout) | {k: v for k, v in CONFIG.items() if k != 'recipe'} | {'steps': 12}
    (tmp_path / 'all.yaml').write_text(yaml.safe_dump(settings))
    output = tmp_path / 'toy.safetensors'
    arguments = ('potential', 'train', '--reference', folder / 'sets' / 'good', '-o', output, '--config',
                 tmp_path / 'all.yaml', '--valid_fraction', 0.34, '--stage-two', '--start_stage_two', 0.5, '--amsgrad',
                 '--ema_decay', 0.9, '--patience', 20, '--eval_interval', 3, '--clip_grad', 10, '--lr', 0.01,
                 '--default_dtype', 'float64', '--E0s', 'average', '--uncertainty-members', 2)  # fmt: skip
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    assert 'stage two' in done.stderr
    assert 'validation' in done.stderr
    card = yaml.safe_load(command('potential', 'show', output).stdout)['card']
    (recipe,) = card['recipe']
    assert (recipe['ema_decay'], recipe['patience'], recipe['start_stage_two'], recipe['clip']) == (0.9, 20, 0.5, 10)
    assert card['trained on'].endswith('float64')
    assert card['uncertainty']['calibrated on'] == 'validation: good'
    wrong = command('potential', 'train', '--reference', folder / 'sets' / 'good', '-o', output, '--patience', 3)
    assert wrong.returncode == 2
    assert 'give valid_fraction, too' in ' '.join(wrong.stderr.split())
    wrong = command('potential', 'train', '--reference', folder / 'sets' / 'good', '-o', output,
                    '--foundation_model', 'no-such')  # fmt: skip
    assert wrong.returncode == 2
    assert 'wanted a file or a shipped name' in ' '.join(wrong.stderr.split())


@pytest.mark.parametrize('text', ['{"Na": -1.5, "Cl": -2}', 'Na: -1.5\nCl: -2\n'], ids=['JSON', 'YAML'])
def test_energies_of_free_atoms_from_a_file(tmp_path, text):
    (tmp_path / 'atoms').write_text(text)
    for given in (str(tmp_path / 'atoms'), {'Na': -1.5, 'Cl': -2}):
        options = _with_energies({'E0s': given}, '--E0s')
        assert train_options(options).reference_energies() == {'Na': -1.5, 'Cl': -2.0}
    assert _with_energies({'E0s': 'average'}, '--E0s') == _with_energies({}, '--E0s') == {}
    (tmp_path / 'atoms').write_text('- -1.5\n')
    with pytest.raises(click.BadParameter, match='holds no energies by symbol'):
        _with_energies({'E0s': str(tmp_path / 'atoms')}, '--E0s')


def test_energies_of_more_elements_than_a_file_name_holds():
    energies = dict.fromkeys(chemical_symbols[1:60], -1.25)
    given = {'E0s': json.dumps(energies)}
    assert train_options(given | _with_energies(given, '--E0s')).reference_energies() == energies
