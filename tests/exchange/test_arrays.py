"""HDF5 files of nested arrays: what goes in comes out, nothing else does."""

import time

import h5py
import numpy as np
import pytest

from aiida_mlfc.exchange.arrays import read_arrays, write_arrays

VALUES = {
    'positions': np.arange(6.0).reshape(2, 3),
    'numbers': np.array([11, 17]),
    'flags': np.array([True, False]),
    'name': 'Zürich <b>',
    'count': 3,
    'yes': True,
    'length': 1.5,
    'labels': [('Γ', 'X'), ('U', 'K')],
    'nested': {'deeper': {'x': np.zeros((0, 3))}, 'symprec': np.float64(1e-5)},
}


def assert_same(got, wanted):
    assert set(got) == set(wanted)
    for name, value in wanted.items():
        if isinstance(value, dict):
            assert_same(got[name], value)
        else:
            np.testing.assert_array_equal(got[name], value)
            assert np.asarray(got[name]).dtype.kind == np.asarray(value).dtype.kind


def test_round_trip(tmp_path):
    write_arrays(tmp_path / 'a.hdf5', VALUES)
    assert_same(read_arrays(tmp_path / 'a.hdf5'), VALUES)
    assert isinstance(read_arrays(tmp_path / 'a.hdf5')['yes'], bool)
    assert [path.name for path in tmp_path.iterdir()] == ['a.hdf5']


def test_none_is_left_out(tmp_path):
    write_arrays(tmp_path / 'a.hdf5', {'distance': None, 'x': 1})
    assert read_arrays(tmp_path / 'a.hdf5') == {'x': 1}


def test_same_values_same_bytes(tmp_path):
    """The fingerprint of a job is taken over these bytes: a time stamp in them would make every restart compute all."""
    write_arrays(tmp_path / 'a.hdf5', VALUES)
    time.sleep(1.1)
    write_arrays(tmp_path / 'b.hdf5', VALUES)
    assert (tmp_path / 'a.hdf5').read_bytes() == (tmp_path / 'b.hdf5').read_bytes()


@pytest.mark.parametrize('value', [np.array([object()]), np.array([1j]), object(), np.array([None, 1]), b'bytes'])
def test_refused_on_writing(tmp_path, value):
    with pytest.raises(TypeError, match='cannot store'):
        write_arrays(tmp_path / 'a.hdf5', {'x': value})
    assert not (tmp_path / 'a.hdf5').exists()


@pytest.mark.parametrize('link', [h5py.SoftLink('/real'), h5py.ExternalLink('other.hdf5', '/secret')])
def test_links_are_refused(tmp_path, link):
    write_arrays(tmp_path / 'other.hdf5', {'secret': np.ones(3)})
    with h5py.File(tmp_path / 'a.hdf5', 'w') as handle:
        handle['real'] = np.ones(3)
        handle.create_group('inside')['link'] = link
    with pytest.raises(OSError, match='link is a link'):
        read_arrays(tmp_path / 'a.hdf5')


def test_external_storage_is_refused(tmp_path):
    """A dataset may keep its raw bytes in any file of the machine."""
    (tmp_path / 'secret').write_bytes(b'12345678')
    with h5py.File(tmp_path / 'a.hdf5', 'w') as handle:
        handle.create_dataset('x', (8,), 'u1', external=[(str(tmp_path / 'secret'), 0, 8)])
    with pytest.raises(OSError, match='outside'):
        read_arrays(tmp_path / 'a.hdf5')


@pytest.mark.parametrize('cut', [0, 1, 100, 1000])
def test_broken_files(tmp_path, cut):
    write_arrays(tmp_path / 'a.hdf5', VALUES)
    content = (tmp_path / 'a.hdf5').read_bytes()
    (tmp_path / 'a.hdf5').write_bytes(content[:cut])
    with pytest.raises(OSError, match=r'.+'):
        read_arrays(tmp_path / 'a.hdf5')
    with pytest.raises(OSError, match='No such file'):
        read_arrays(tmp_path / 'missing.hdf5')
