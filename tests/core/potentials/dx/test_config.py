"""Settings of dx: what is refused, what warns, what survives storage."""

import json
import warnings

import pytest

from aiida_mlfc.core.potentials.dx.config import DXConfig, DXDefectWarning, preset


@pytest.mark.parametrize(('changes', 'named'), [
    ({'species': ()}, 'species'),
    ({'species': (14, 14)}, 'species'),
    ({'channels': 10, 'n_heads': 4}, 'n_heads'),
    ({'cutoff': 0.0}, 'cutoff'),
    ({'readout': 'mean'}, 'extensive'),
    ({'attention': 'hard'}, 'smooth_softmax'),
    ({'norm': 'batch'}, 'merged'),
    ({'envelope': 'cosine'}, 'bump'),
])
def test_bad_settings_are_named(changes, named):
    with pytest.raises(ValueError, match=named):
        DXConfig(**{'species': (14,), **changes})


@pytest.mark.parametrize(('changes', 'named'), [
    ({'attention': 'softmax'}, 'jumps'), ({'norm': 'per_degree'}, 'Hessians'),
])
def test_defects_warn(changes, named):
    with pytest.warns(DXDefectWarning, match=named):
        DXConfig(species=(14,), **changes)


@pytest.mark.parametrize(('name', 'attention', 'norm'), [
    ('v2', 'none', 'merged'),
    ('v4', 'smooth_softmax', 'merged'),
    ('graph_attention_transformer_nonlinear_l2_e3_noNorm_dx_v4', 'smooth_softmax', 'merged'),
])
def test_sound_presets_do_not_warn(name, attention, norm):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        config = preset(name, (14,), channels=16)
    assert (config.attention, config.norm, config.channels) == (attention, norm, 16)
    assert name.endswith(config.variant)


@pytest.mark.parametrize('name', ['v1', 'v3', 'graph_attention_transformer_nonlinear_l2_e3_noNorm_dx'])
def test_first_presets_warn_of_both_defects(name):
    with pytest.warns(DXDefectWarning) as seen:
        config = preset(name, (14,))
    assert len(seen) == 2
    assert config.checkpoint_blocks == (name == 'v3')
    assert (config.attention, config.norm) == ('softmax', 'per_degree')


def test_unknown_preset():
    with pytest.raises(ValueError, match="'v5', wanted one of v1, v2, v3, v4"):
        preset('v5', (14,))


def test_storage_round_trip():
    config = DXConfig(species=(14, 8), channels=16, cutoff=4.5, envelope='quartic')
    assert DXConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(ValueError, match='colour'):
        DXConfig.from_dict({**config.to_dict(), 'colour': 'blue'})
