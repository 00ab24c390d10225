"""MatterSim checkpoints read without torch: what torch would say, and nothing in them runs."""

import io
import os
import pickle
import struct
import sys
import zipfile

import pytest
import torch
from ase import Atoms
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiida_mlfc.core.checkpoint_files import published_names, read_header, resolve
from aiida_mlfc.core.checkpoint_header import CheckpointError, sha256_of
from aiida_mlfc.core.mattersim_download import CACHE_VARIABLE, CHECKPOINT_VARIABLE, URL_VARIABLE
from aiida_mlfc.core.mattersim_files import LARGEST_PICKLE, read_pickle
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.registry import load_potential
from aiida_mlfc.core.potentials.validity import check_stress_labels
from aiida_mlfc.core.structures.checks import UnknownSpeciesError

from .potentials.mattersim.reference_values import TINY, TOY


@pytest.fixture
def checkpoint():
    """What the tiny checkpoint holds, to be altered."""
    return torch.load(TINY, weights_only=True)


@pytest.fixture
def archive(tmp_path):
    """A zip archive around a pickle, as torch writes it; altered.pth."""

    def write(pickled, compression=zipfile.ZIP_STORED, name='altered/data.pkl'):
        with zipfile.ZipFile(tmp_path / 'altered.pth', 'w', compression) as file:
            file.writestr(name, pickled)
        return tmp_path / 'altered.pth'

    return write


def tiny_pickle():
    with zipfile.ZipFile(TINY) as file:
        return file.read('tiny-random/data.pkl')


@pytest.mark.parametrize('path', [TINY, TOY], ids=lambda path: path.stem)
def test_header_says_what_the_loaded_model_says(path):
    header, model = read_header(path), load_potential(path)
    assert header.architecture == model.metadata['architecture'] == 'mattersim'
    assert header.species == [z for z in model.species if z]
    assert header.cutoff == model.cutoff
    assert header.card.items() <= model.metadata.items()
    assert {name: header.config[name] for name in model.metadata['model_args']} == model.metadata['model_args']
    check_stress_labels(header.card)


def test_torch_is_not_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch', None)
    assert read_header(TINY).species == list(range(1, 95))


def test_optimizer_states_and_other_dtypes(checkpoint, tmp_path):
    """What a training leaves in an official file: tensors, numbers, whole numbers as keys."""
    parameter = torch.nn.Parameter(torch.zeros(2, 3))
    optimizer = torch.optim.Adam([parameter], lr=1e-3, betas=(0.9, 0.99))
    parameter.sum().backward()
    optimizer.step()
    checkpoint |= {
        'optimizer': optimizer.state_dict(), 'ema': {'shadow': [parameter, parameter.detach().double()]},
        'last_epoch': 2**40, 'validation_metrics': {'loss': 0.25, 'best': None}, 'dtype': torch.float32,
        'shape': parameter.shape,
    }
    torch.save(checkpoint, tmp_path / 'altered.pth')
    assert read_header(tmp_path / 'altered.pth').config == read_header(TINY).config


class Runs:
    """Calls a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.recipe = function, arguments

    def __reduce__(self):
        return self.recipe


@pytest.mark.parametrize('protocol', [0, 2, 4, 5])
def test_pickle_bomb(tmp_path, archive, protocol):
    trace = tmp_path / 'exploded'
    path = archive(pickle.dumps({'model_name': 'm3gnet', 'model': Runs(open, str(trace), 'w')}, protocol))
    pickle.loads(zipfile.ZipFile(path).read('altered/data.pkl'))['model'].close()
    assert trace.exists(), 'the bomb is a bomb'
    trace.unlink()
    for read in (read_header, load_potential):
        with pytest.raises(CheckpointError, match=r'altered\.pth'):
            read(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    'function', [os.system, eval, getattr, torch.load, torch.hub.load, torch.nn.Linear, print], ids=lambda f: f.__name__
)
def test_names_that_are_refused(checkpoint, tmp_path, function):
    checkpoint['optimizer'] = Runs(function, '1')
    torch.save(checkpoint, tmp_path / 'altered.pth')
    with pytest.raises(CheckpointError, match=r'altered\.pth.*running its code was refused'):
        read_header(tmp_path / 'altered.pth')


def test_keys_that_would_take_for_ever(archive):
    """Sixty tuples inside each other, each twice the one below: hashing the outermost takes 2⁶⁰ steps."""
    nested = b'\x80\x02}()' + b'q\x00h\x00\x86' * 60 + b'K\x01s.'
    with pytest.raises(CheckpointError, match='a key that is neither text nor a whole number'):
        read_header(archive(nested))


def test_large_parts_are_not_unpacked(archive):
    path = archive(b'\x80\x02' + b'N' * LARGEST_PICKLE + b'.', zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    with pytest.raises(CheckpointError, match='wanted at most'):
        read_header(path)


@pytest.mark.parametrize(
    ('pickled', 'message'),
    [
        (b'', 'pickle'),
        (tiny_pickle()[:-1], 'pickle|opcode'),
        (tiny_pickle()[:7000], 'something else'),
        (b'\x80\x02.', 'something else'),
        (b'\x80\x02t.', 'something else'),
        (b'\x80\x02h\x07.', 'something else'),
        (b'\x80\x02K\x01K\x02a.', 'something else'),
        (b'\x80\x02K\x01)R.', 'something else'),
        (pickle.dumps([1, 2], 2), 'wanted a dictionary'),
        (pickle.dumps({}, 2), 'lacks'),
        (pickle.dumps({'model_name': 'm3gnet', 'model_args': {}}, 2), r"lacks \['model'\]"),
        (pickle.dumps({'model_name': 'chgnet', 'model': {}, 'model_args': {}}, 2), "'chgnet'"),
        (pickle.dumps({'model_name': ['m3gnet'], 'model': {}, 'model_args': {}}, 2), 'architecture a list'),
    ],
    ids=range(13),
)
def test_what_is_no_mattersim_checkpoint(archive, pickled, message):
    path = archive(pickled)
    with pytest.raises(CheckpointError, match=rf'altered\.pth.*({message})'):
        read_header(path)


def test_archives_that_are_something_else(archive, tmp_path):
    with pytest.raises(CheckpointError, match=r'without a data\.pkl'):
        read_header(archive(tiny_pickle(), name='altered/other.pkl'))
    for length in (4, 1000, 40_000, -100):
        (tmp_path / 'cut.pth').write_bytes(TINY.read_bytes()[:length])
        with pytest.raises(CheckpointError, match=r'cut\.pth.*truncated'):
            read_header(tmp_path / 'cut.pth')
    flipped = bytearray(TINY.read_bytes())
    flipped[flipped.index(b'threebody_cutoff')] ^= 1
    (tmp_path / 'flipped.pth').write_bytes(flipped)
    with pytest.raises(CheckpointError, match=r'flipped\.pth.*CRC'):
        read_header(tmp_path / 'flipped.pth')


@pytest.mark.parametrize(
    'change',
    [
        {'max_z': 0}, {'max_z': 119}, {'max_z': 10**12}, {'max_z': '94'}, {'max_z': True}, {'max_z': 94.0},
        {'cutoff': 0}, {'cutoff': -5.0}, {'cutoff': float('nan')}, {'cutoff': float('inf')}, {'cutoff': '5'},
        {'units': [16]}, {7: 1},
    ],
    ids=str,
)
def test_arguments_out_of_range(checkpoint, tmp_path, change):
    checkpoint['model_args'] |= change
    torch.save(checkpoint, tmp_path / 'altered.pth')
    for read in (read_header, load_potential):
        with pytest.raises(CheckpointError, match=r'altered\.pth.*(max_z|cutoff|model_args)'):
            read(tmp_path / 'altered.pth')


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_pickles_are_refused_or_read(archive, data):
    """Bytes changed anywhere, the checksum made right again: a CheckpointError or a header, nothing else."""
    pickled = bytearray(tiny_pickle())
    for _ in range(data.draw(st.integers(1, 3))):
        pickled[data.draw(st.integers(0, len(pickled) - 1))] = data.draw(st.integers(0, 255))
    path = archive(bytes(pickled))
    try:
        header = read_header(path)
    except CheckpointError:
        return
    assert header.architecture == 'mattersim'
    assert header.species


def test_values_are_those_of_python():
    value = {'a': [1, -2, 2**70, 0.1, None, True, 'ü', (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {}, []], 3: {'b': 1}}
    assert read_pickle(pickle.dumps(value, 2)) == value
    buffer = io.BytesIO()
    pickle.dump(struct.error, buffer, 2)
    with pytest.raises(ValueError, match='refused'):
        read_pickle(buffer.getvalue())


def test_names(tmp_path, monkeypatch):
    """Published names reach the cache from the ground floor, without torch; a file of that name comes first."""
    folder = tmp_path / 'server'
    folder.mkdir()
    (folder / 'mattersim-v1.0.0-1M.pth').write_bytes(TINY.read_bytes())
    monkeypatch.setenv(URL_VARIABLE, folder.as_uri())
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / 'cache'))
    monkeypatch.delenv(CHECKPOINT_VARIABLE, raising=False)
    assert published_names() == ['mattersim', 'mattersim-v1.0.0-1m', 'mattersim-v1.0.0-5m']
    for name in ('mattersim-v1.0.0-1m', 'MatterSim-v1.0.0-1M.pth', 'mattersim'):
        path = resolve(name)
        assert path == tmp_path / 'cache' / 'mattersim' / 'mattersim-v1.0.0-1M.pth'
        assert sha256_of(path) == sha256_of(TINY)
    assert load_potential('mattersim-v1.0.0-1m', 'float32').config == load_potential(TINY).config
    monkeypatch.setattr('aiida_mlfc.core.mattersim_download.time.sleep', lambda seconds: None)
    with pytest.raises(CheckpointError, match=r'mattersim-v1\.0\.0-5M\.pth could not be fetched'):
        resolve('mattersim-v1.0.0-5m')
    monkeypatch.setenv(CHECKPOINT_VARIABLE, str(TOY))
    assert resolve('mattersim') == TOY
    assert load_potential('mattersim').config.num_blocks == 3
    monkeypatch.setenv(CHECKPOINT_VARIABLE, str(tmp_path / 'absent'))
    with pytest.raises(CheckpointError, match=CHECKPOINT_VARIABLE):
        load_potential('mattersim')
    monkeypatch.chdir(folder)
    assert resolve('mattersim-v1.0.0-1M.pth').resolve() == folder / 'mattersim-v1.0.0-1M.pth'


def test_elements_it_does_not_know():
    """Named as elements: the column 0 of its types is none."""
    atoms = Atoms('Am', cell=[4, 4, 4], pbc=True)
    model = load_potential(TINY)
    with pytest.raises(UnknownSpeciesError, match=r'does not know Am; it was trained on H He .* Pu\.'):
        build_graph(atoms, model.cutoff, model.species)
