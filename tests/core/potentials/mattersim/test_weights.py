"""Checkpoints: read exactly, or refused with the reason; never run."""

import pickle
import zipfile

import pytest
import torch

from aiida_mlfc.core.checkpoint_header import CheckpointError, sha256_of
from aiida_mlfc.core.potentials.mattersim.model import M3GNet, M3GNetConfig
from aiida_mlfc.core.potentials.mattersim.weights import from_official, load_mattersim
from aiida_mlfc.core.potentials.validity import check_stress_labels

from .reference_values import MODELS, TINY, golden, model_of


@pytest.fixture
def checkpoint():
    """What the tiny checkpoint holds, to be altered."""
    return torch.load(TINY, weights_only=True)


@pytest.fixture
def written(tmp_path):
    """Write an object where a checkpoint is expected."""

    def write(content):
        path = tmp_path / 'altered.pth'
        torch.save(content, path)
        return path

    return write


@pytest.mark.parametrize('name', MODELS)
def test_model_card(name):
    metadata = model_of(name).metadata
    expected = golden()['models'][name]
    assert metadata['sha256'] == expected['sha256']
    assert metadata['model_args'] == expected['model_args']
    assert metadata['n_parameters'] == expected['n_parameters']
    assert metadata['licence'] == 'MIT'
    assert 'arXiv:2405.04967' in metadata['citation']
    check_stress_labels(metadata)


def test_sizes_of_the_published_models():
    """1M and 5M by their arguments: the number of parameters that is published for each."""
    for blocks, units, wanted in ((3, 128, 890_034), (4, 256, 4_548_930)):
        model = M3GNet(M3GNetConfig(blocks, units, 5.0, 4.0, 94))
        assert sum(p.numel() for p in model.parameters()) == wanted


def test_a_larger_model_round_trips(checkpoint):
    torch.manual_seed(0)
    config = M3GNetConfig(4, 24, 5.0, 4.0, 94)
    other = M3GNet(config)
    other.sbf.coef.copy_(checkpoint['model']['sbf.coef'])
    loaded = from_official(other.state_dict(), checkpoint['model_args'] | {'num_blocks': 4, 'units': 24})
    assert loaded.config == config


def test_dtype_device_and_checksum():
    model = load_mattersim(TINY, dtype=torch.float32, device='cpu', sha256=sha256_of(TINY).upper())
    assert model.dtype == torch.float32
    with pytest.raises(CheckpointError, match='sha256'):
        load_mattersim(TINY, sha256='0' * 64)
    for kind in (FileNotFoundError, CheckpointError):
        with pytest.raises(kind, match=r'path: .* is not a file'):
            load_mattersim(TINY.with_name('absent.pth'))


def test_harmless_argument_of_newer_versions(checkpoint, written):
    checkpoint['model_args']['gradient_checkpointing'] = True
    assert load_mattersim(written(checkpoint)).config == model_of('tiny-random').config


@pytest.mark.parametrize('length', [0, 1000, 40_000, -200])
def test_truncated(tmp_path, length):
    path = tmp_path / 'truncated.pth'
    path.write_bytes(TINY.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r'path: .*truncated'):
        load_mattersim(path)


def test_one_flipped_bit(tmp_path):
    """In the middle of a tensor, where torch itself would not notice."""
    content = bytearray(TINY.read_bytes())
    with zipfile.ZipFile(TINY) as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size)
    content[largest.header_offset + 200 + largest.file_size // 2] ^= 1
    path = tmp_path / 'flipped.pth'
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match='checksum'):
        load_mattersim(path)


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return open, (str(self.trace), 'w')


def test_pickle_bomb(tmp_path, checkpoint, written):
    trace = tmp_path / 'exploded'
    checkpoint['optimizer'] = Bomb(trace)
    with pytest.raises(CheckpointError, match='running its code was refused'):
        load_mattersim(written(checkpoint))
    assert not trace.exists()
    bare = tmp_path / 'bare.pth'
    bare.write_bytes(pickle.dumps(Bomb(trace)))
    with pytest.raises(CheckpointError):
        load_mattersim(bare)
    assert not trace.exists()


def _rename(c):
    c['model']['final.g.0.linear.other'] = c['model'].pop('final.g.0.linear.bias')


def _reshape(c):
    c['model']['final.g.0.linear.bias'] = torch.zeros(17)


def _nan(c):
    c['model']['normalizer.shift'][14] = float('nan')


def _more_blocks(c):
    c['model_args']['num_blocks'] = 3


def _huge(c):
    c['model_args']['units'] = 900_000


def _no_embedding(c):
    del c['model']['atom_embedding.mlp.0.linear.weight']


def _other_cutoff(c):
    c['model_args']['cutoff'] = 5.5


def _two_wave_numbers(c):
    c['model']['sbf.coef'][2, 5, 1] += 0.1


def _three_degrees(c):
    c['model_args']['max_l'] = 3


def _text(c):
    c['model_args']['units'] = '16'


def _no_argument(c):
    del c['model_args']['threebody_cutoff']


def _new_argument(c):
    c['model_args']['charges'] = True


def _wide_triplets(c):
    c['model_args']['threebody_cutoff'] = 6.0


def _architecture(c):
    c['model_name'] = 'graphormer'


def _no_model(c):
    del c['model']


def _no_tensors(c):
    c['model'] = {'weight': 1.0}


@pytest.mark.parametrize(('change', 'message'), [
    (_rename, r"lacks \['final.g.0.linear.bias'\] and has unknown \['final.g.0.linear.other'\]"),
    (_reshape, r'final.g.0.linear.bias has shape \(17,\), wanted \(16,\)'),
    (_nan, 'normalizer.shift holds values that are not finite'),
    (_more_blocks, 'the state dict lacks'),
    (_huge, r'atom_embedding has shape \(16, 95\), wanted \(900000, 95\)'),
    (_no_embedding, 'atom_embedding has shape None'),
    (_other_cutoff, 'is not that of cutoff = 5.5'),
    (_two_wave_numbers, 'several wave numbers'),
    (_three_degrees, 'max_l = 3, max_n = 4, wanted 4 and 4'),
    (_text, "units = '16', wanted a positive int"),
    (_no_argument, r"missing \['threebody_cutoff'\]"),
    (_new_argument, r"unknown \['charges'\]"),
    (_wide_triplets, 'threebody_cutoff = 6.0'),
    (_architecture, "architecture 'graphormer', wanted 'm3gnet'"),
    (_no_model, r"lacks \['model'\]"),
    (_no_tensors, 'wanted a state dict of tensors'),
], ids=lambda value: value.__name__.lstrip('_') if callable(value) else '')  # fmt: skip
def test_altered_content(checkpoint, written, change, message):
    change(checkpoint)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_mattersim(written(checkpoint))
    assert str(caught.value).startswith('path: ')


def test_a_bare_list(written):
    with pytest.raises(CheckpointError, match='holds a list'):
        load_mattersim(written([1, 2]))
