"""Settings of a training: names, kinds, and what contradicts itself."""

from dataclasses import fields

import pytest
import yaml

from aiida_mlfc.core.potentials.training.recipe import Recipe
from aiida_mlfc.exchange.training_options import OF_MODEL, OF_RECIPE, TrainOptions, commented_defaults, train_options

#: of MACE's command line, those that mean something here
MACE = (
    'name', 'seed', 'E0s', 'valid_fraction', 'foundation_model', 'default_dtype', 'r_max', 'num_channels',
    'num_interactions', 'lr', 'weight_decay', 'amsgrad', 'clip_grad', 'ema_decay', 'stage_two', 'start_stage_two',
    'stage_two_lr', 'forces_weight', 'energy_weight', 'stress_weight', 'patience', 'eval_interval', 'device',
)  # fmt: skip


def test_names_and_documentation():
    known = {setting.name: setting for setting in fields(TrainOptions)}
    assert set(MACE) <= set(known)
    assert all(setting.metadata['help'].endswith('.') for setting in known.values())
    assert set(OF_RECIPE) | set(OF_MODEL) <= set(known)
    # every name leads to a field that there is, of the same kind
    plain = Recipe()
    for name, target in OF_RECIPE.items():
        assert isinstance(getattr(plain, target), known[name].metadata['kind']), name


def test_defaults_stand_where_they_are_documented():
    """What the help says of a setting without a value is what the recipe has."""
    said = {'lr': '0.005', 'warmup_steps': '50', 'weight_decay': '1e-4', 'clip_grad': '5', 'ema_decay': '0.99',
            'hessian_weight': '1', 'forces_weight': '1', 'energy_weight': '0', 'stress_weight': '0.002',
            'eval_interval': '100'}  # fmt: skip
    texts = {setting.name: setting.metadata['help'] for setting in fields(TrainOptions)}
    for name, value in said.items():
        assert f'{value} by default' in texts[name]
        assert getattr(Recipe(), OF_RECIPE[name]) == float(value)


def test_they_reach_the_recipe():
    options = train_options({'lr': 1, 'stage_two': True, 'ema_decay': 0.9, 'recipe': {'white': 1.0},
                             'checkpoint_minutes': 0.5, 'num_channels': 8, 'model': {'n_heads': 2}})  # fmt: skip
    assert options.recipe_changes() == {
        'checkpoint_interval': 30.0, 'learning_rate': 1.0, 'ema_decay': 0.9, 'start_stage_two': 0.7, 'white': 1.0,
    }  # fmt: skip
    assert options.model_changes() == {'channels': 8, 'n_heads': 2}
    assert train_options({}).recipe_changes() == {'checkpoint_interval': 120.0}


def test_file_of_defaults_changes_nothing():
    content = yaml.safe_load(commented_defaults())
    assert set(content) == {setting.name for setting in fields(TrainOptions)}
    assert train_options({key: value for key, value in content.items() if value is not None}) == TrainOptions()


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'learning_rat': 1.0}, r"got \['learning_rat'\], wanted keys of name, seed"),
        ({'seed': 'x'}, 'option seed: got .x., wanted a int'),
        ({'seed': True}, 'option seed: got True, wanted a int'),
        ({'stage_two': 1}, 'option stage_two: got 1, wanted a bool'),
        ({'default_dtype': 'float16'}, 'wanted one of float32, float64'),
        ({'valid_fraction': 1.0}, 'valid_fraction: got 1.0'),
        ({'patience': 3}, 'nothing to validate on'),
        ({'start_stage_two': 0.5}, 'there is no stage two'),
        ({'E0s': 'isolated'}, 'wanted average or zero'),
        ({'E0s': '{}'}, 'energies in eV by symbol'),
        ({'E0s': '{"Na": true}'}, 'energies in eV by symbol'),
        ({'E0s': '{"Na": NaN}'}, 'energies in eV by symbol'),
        ({'E0s': '{"Na": -1.5}', 'foundation_model': 'x'}, 'its energies of free atoms are fixed'),
        ({'foundation_model': 'x', 'r_max': 5.0}, 'its architecture is fixed'),
        ({'lr': 0.1, 'recipe': {'learning_rate': 0.2}}, 'lr and recipe.learning_rate say the same thing'),
    ],
)
def test_what_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        train_options(values)


def test_energies_of_free_atoms():
    assert train_options({}).reference_energies() == 'average'
    assert train_options({'E0s': '{"Na": -1, "Cl": -2.5}'}).reference_energies() == {'Na': -1.0, 'Cl': -2.5}
