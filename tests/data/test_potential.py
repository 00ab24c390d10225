"""A checkpoint as a node."""

from pathlib import Path

import pytest
from aiida.orm import load_node
from aiida.plugins import DataFactory

from aiida_mlfc.core.checkpoint_header import CheckpointError, sha256_of
from aiida_mlfc.data.potential import PotentialData


def test_node_says_what_the_file_says(tiny_checkpoint):
    node = PotentialData.from_file(tiny_checkpoint)
    assert DataFactory('mlfc.potential') is PotentialData
    assert not node.is_stored
    node = load_node(node.store().uuid)
    assert node.architecture == 'dx'
    assert node.name == node.label == 'tiny'
    assert node.species == [11, 13, 14, 17]
    assert node.cutoff == 3.2
    assert node.card['licence'] == 'MIT'
    assert node.sha256 == sha256_of(tiny_checkpoint)
    with node.open(mode='rb') as handle:
        assert handle.read() == tiny_checkpoint.read_bytes()


def test_the_same_file_is_stored_once(tiny_checkpoint, tmp_path):
    copy = tmp_path / 'other_name.safetensors'
    copy.write_bytes(tiny_checkpoint.read_bytes())
    assert PotentialData.get_or_create(tiny_checkpoint).uuid == PotentialData.get_or_create(copy).uuid


def test_what_is_no_potential(tmp_path):
    (tmp_path / 'x').write_bytes(b'garbage')
    with pytest.raises(CheckpointError, match='not a safetensors file'):
        PotentialData.from_file(tmp_path / 'x')
    with pytest.raises(CheckpointError, match='wanted a file'):
        PotentialData.get_or_create('no-such-potential')


def test_mattersim_by_a_relative_path(monkeypatch):
    """A zip of pickles is stored as dx is, and no element of row 0."""
    path = Path(__file__).parents[1] / 'core' / 'potentials' / 'mattersim' / 'golden' / 'tiny-random.pth'
    monkeypatch.chdir(path.parent)
    node = PotentialData.from_file(path.name).store()
    assert (node.architecture, node.name, node.filename) == ('mattersim', 'tiny-random', 'tiny-random.pth')
    assert node.species == list(range(1, 95))
    assert node.card['licence'] == 'MIT'
    assert node.sha256 == sha256_of(path)
    with node.open(mode='rb') as handle:
        assert handle.read() == path.read_bytes()
