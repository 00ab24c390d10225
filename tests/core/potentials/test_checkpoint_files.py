"""Checkpoints: written and read back to the bit; whatever else stands in a file is refused with a reason."""

import json
import struct

import pytest
import torch
from ase.build import bulk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from aiida_mlfc.core import checkpoint_files
from aiida_mlfc.core.checkpoint_files import FORMAT_KEY, read_header, resolve, shipped_names
from aiida_mlfc.core.checkpoint_header import CheckpointError, sha256_of
from aiida_mlfc.core.potentials.checkpoints import load_dx, save_dx
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.registry import load_potential

from ..small_systems import SPECIES, small_dx


@pytest.fixture(scope='module')
def model():
    model = small_dx(channels=4, n_layers=1)
    model.metadata.update({'name': 'småll', 'licence': 'MIT', 'validity': {'has_stress': True}})
    return model.float().double()


@pytest.fixture
def path(model, tmp_path):
    save_dx(model, tmp_path / 'model.safetensors')
    return tmp_path / 'model.safetensors'


def rewritten(path, metadata=None, tensors=None):
    """The file with some of its metadata or tensors replaced; None drops an entry."""
    from safetensors import safe_open

    with safe_open(str(path), framework='pt') as handle:
        old = handle.metadata()
        kept = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (not a dict)
    kept = {k: v for k, v in (kept | (tensors or {})).items() if v is not None}
    new = {k: v for k, v in (old | (metadata or {})).items() if v is not None}
    path.write_bytes(save(kept, metadata=new))


def test_round_trip(model, path):
    loaded = load_dx(path)
    graph = build_graph(bulk('NaCl', 'rocksalt', a=5.64), model.cutoff, SPECIES)
    assert loaded(graph).item() == model(graph).item()
    assert loaded.config == model.config
    assert loaded.metadata == model.metadata | {'sha256': sha256_of(path)}
    assert not loaded.training
    assert {p.dtype for p in loaded.parameters()} == {torch.float64}
    assert [p.name for p in path.parent.iterdir()] == ['model.safetensors']


def test_header_without_torch(model, path):
    header = read_header(path)
    assert header.architecture == 'dx'
    assert header.species == list(SPECIES)
    assert header.cutoff == model.cutoff
    assert header.card['name'] == 'småll'


def test_saving_does_not_touch_what_is_there_until_done(model, path, monkeypatch):
    before = path.read_bytes()

    def full(*arguments, **keywords):
        raise OSError('disk full')

    monkeypatch.setattr('aiida_mlfc.core.potentials.checkpoints.save', full)
    with pytest.raises(OSError, match='disk full'):
        save_dx(model, path)
    assert path.read_bytes() == before


@pytest.mark.parametrize('cut', [0, 4, 8, 100, -1, -1000])
def test_truncated(path, cut):
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CheckpointError, match=r'model\.safetensors'):
        load_dx(path)


def with_header(raw: bytes) -> bytes:
    return struct.pack('<Q', len(raw)) + raw


@pytest.mark.parametrize(
    'content',
    [
        b'PK\x03\x04 a pickled torch file',
        struct.pack('<Q', 2**63) + b'{}',
        struct.pack('<Q', 5_000_000) + b'{' * 5_000_000,
        with_header(b'[]'),
        with_header(b'{}'),
        with_header(b'{"__metadata__": null}'),
        with_header(b'{"__metadata__": 3}'),
        with_header(b'\xff\xfe'),
        with_header(b'[' * 100_000),
        with_header(b'{"__metadata__": {"aiida_mlfc_format": "x"}}'),
        with_header(b'{"__metadata__": {"aiida_mlfc_format": "1"}}'),
        with_header(b'{"__metadata__": {"format": "pt"}}'),
    ],
    ids=range(12),
)
def test_not_a_checkpoint(tmp_path, content):
    (tmp_path / 'x.safetensors').write_bytes(content)
    for read in (read_header, load_dx):
        with pytest.raises(CheckpointError, match=r'x\.safetensors'):
            read(tmp_path / 'x.safetensors')


@pytest.mark.parametrize(
    ('metadata', 'message'),
    [
        ({FORMAT_KEY: '2'}, 'update the package'),
        ({FORMAT_KEY: 'one'}, 'not a readable checkpoint'),
        ({FORMAT_KEY: None}, 'not one written by this package'),
        ({'config': '[1]'}, 'not a readable checkpoint'),
        ({'config': '{}'}, 'not a readable checkpoint'),
        ({'config': '{"species": "NaCl", "cutoff": 3}'}, 'not a readable checkpoint'),
        ({'config': '{"species": [11], "cutoff": null}'}, 'not a readable checkpoint'),
        ({'config': '{"species": [11], "cutoff": -1}'}, 'not a readable checkpoint'),
        ({'config': '{"species": [], "cutoff": 3}'}, 'not a readable checkpoint'),
        ({'config': '{'}, 'not a readable checkpoint'),
        ({'config': None}, 'not a readable checkpoint'),
        ({'card': '3'}, 'not a readable checkpoint'),
        ({'card': None}, 'not a readable checkpoint'),
        ({'architecture': None}, 'not a readable checkpoint'),
    ],
    ids=str,
)
def test_tampered_header(path, metadata, message):
    rewritten(path, metadata)
    for read in (read_header, load_dx):
        with pytest.raises(CheckpointError, match=message):
            read(path)


@pytest.mark.parametrize(
    'changes',
    [
        {'channels': 8},
        {'n_layers': 2},
        {'species': [11, 13]},
        {'attention': 'magic'},
        {'unheard': 1},
        {'channels': 'many'},
        {'channels': 10**9},
        {'n_layers': 10**9},
    ],
    ids=str,
)
def test_settings_that_do_not_fit_the_weights(path, changes):
    config = read_header(path).config | changes
    rewritten(path, {'config': json.dumps(config)})
    with pytest.raises(CheckpointError, match='belong together'):
        load_dx(path)


def test_other_architecture(path):
    rewritten(path, {'architecture': 'nequip'})
    with pytest.raises(CheckpointError, match="holds a 'nequip' model, wanted dx"):
        load_dx(path)


def first_weight(path):
    from safetensors import safe_open

    with safe_open(str(path), framework='pt') as handle:
        name = sorted(handle.keys())[0]
        return name, handle.get_tensor(name)


@pytest.mark.parametrize('change', ['nan', 'infinite', 'shape', 'missing', 'extra'])
def test_broken_weights(path, change):
    name, value = first_weight(path)
    rewritten(
        path,
        tensors={
            'nan': {name: torch.full_like(value, torch.nan)},
            'infinite': {name: torch.full_like(value, torch.inf)},
            'shape': {name: torch.zeros(3, 3, 3)},
            'missing': {name: None},
            'extra': {'backdoor': torch.zeros(1)},
        }[change],
    )
    with pytest.raises(CheckpointError, match='not finite' if change in ('nan', 'infinite') else 'belong together'):
        load_dx(path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_headers_are_refused_or_read(path, data):
    """Bytes changed anywhere in the header: a CheckpointError or a header, nothing else."""
    raw = bytearray(path.read_bytes())
    length = struct.unpack('<Q', raw[:8])[0]
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, 7 + length))] = data.draw(st.integers(0, 255))
    damaged = path.with_name('damaged.safetensors')
    damaged.write_bytes(bytes(raw))
    try:
        header = read_header(damaged)
    except CheckpointError:
        return
    assert header.species
    assert header.cutoff is not None


def test_registry(path, monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoint_files, '_SHIPPED', tmp_path)
    assert shipped_names() == ['model']
    assert resolve('model') == path
    assert load_potential('model').metadata['sha256'] == sha256_of(path)
    assert {p.dtype for p in load_potential(path, 'float32').parameters()} == {torch.float32}
    assert load_potential(str(path), torch.float64).dtype == torch.float64
    for dtype in ('float16', torch.float16, 'double', None):
        with pytest.raises(ValueError, match='wanted float64 or float32'):
            load_potential('model', dtype)
    with pytest.raises(CheckpointError, match=r"got 'dx-demmo', wanted a file or a shipped name: model"):
        load_potential('dx-demmo')
    with pytest.raises(CheckpointError, match='wanted a file'):
        resolve(tmp_path)
    with pytest.raises(CheckpointError, match='there is no checkpoint'):
        read_header(tmp_path / 'absent')


@pytest.mark.parametrize('name', shipped_names())
def test_shipped_potentials_load_and_say_where_they_come_from(name):
    model = load_potential(name)
    assert resolve(name).stat().st_size < 3_000_000
    for key in ('name', 'licence', 'validity'):
        assert model.metadata[key]
