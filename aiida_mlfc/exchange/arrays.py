"""Nested dictionaries of arrays, numbers and text as one HDF5 file, written atomically; read as data of finite size."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from aiida_mlfc.exchange import limits

#: kinds of values that are kept as attributes
_JSON_LIKE = (str, bool, int, float)
#: the filters that belong to HDF5 itself; others are programs that it would load
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


def write_arrays(path: Path | str, values: dict[str, Any]) -> None:
    """Arrays become datasets, dictionaries groups, text and numbers attributes; ``None`` is left out.

    :raises TypeError: for a value that is none of these.
    """
    path = Path(path)
    partial = path.with_name(path.name + '.partial')
    # In memory first: HDF5 does not survive that a file cannot be closed, the disk being full (SIGSEGV at exit).
    buffer = io.BytesIO()
    with h5py.File(buffer, 'w') as handle:
        _write_group(handle, values)
    partial.write_bytes(buffer.getbuffer())
    os.replace(partial, path)


def _write_group(group: h5py.Group, values: dict[str, Any]) -> None:
    for name, value in values.items():
        if value is None:
            continue
        if isinstance(value, dict):
            _write_group(group.create_group(name), value)
        elif isinstance(value, _JSON_LIKE):
            group.attrs[name] = value
        elif isinstance(value, (list, tuple, np.ndarray)):
            array = np.asarray(value)
            if array.dtype.kind == 'U':
                group.create_dataset(name, data=array.astype(object), dtype=h5py.string_dtype())
            elif array.dtype.kind in 'ifb':
                group.create_dataset(name, data=array)
            else:
                raise TypeError(f'{name}: cannot store an array of {array.dtype}')
        elif isinstance(value, np.generic):
            group.attrs[name] = value.item()
        else:
            raise TypeError(f'{name}: cannot store a {type(value).__name__}')


def read_arrays(path: Path | str) -> dict[str, Any]:
    """The inverse of :func:`write_arrays`.

    :raises OSError: if the file is missing, truncated, not HDF5, larger than anything this package writes, or holds
        what is not plain data.
    """
    values = _read(path, None)
    assert isinstance(values, dict)
    return values


def read_array(path: Path | str, name: str) -> np.ndarray:
    """One array at the top of a file that may hold others.

    :raises OSError: as :func:`read_arrays`, or if there is no such array.
    """
    return np.asarray(_read(path, name))


def _read(path: Path | str, name: str | None) -> Any:
    limits.check_file(Path(path), limits.LARGEST_ARRAYS)
    try:
        with h5py.File(path, 'r') as handle:
            reader = _Reader()
            if name is None:
                return reader.group(handle, 1)
            if name not in handle:
                raise OSError(f'there is no {name}')
            return reader.item(handle, name, 1)
    except (KeyError, ValueError, TypeError, RuntimeError, OverflowError) as error:
        # What h5py raises depends on which byte is wrong.
        raise OSError(f'{type(error).__name__} in HDF5: {error}') from error


class _Reader:
    """Reads and counts."""

    def __init__(self) -> None:
        self.n_objects, self.n_bytes = 0, 0

    def count(self, n_bytes: int = 0) -> None:
        """One more object.

        :raises OSError: if that is one too many.
        """
        self.n_objects, self.n_bytes = self.n_objects + 1, self.n_bytes + n_bytes
        if self.n_objects > limits.MOST_OBJECTS:
            raise OSError(f'more than {limits.MOST_OBJECTS} groups, arrays and numbers')
        if self.n_bytes > limits.LARGEST_ARRAYS:
            raise OSError(f'arrays of more than {limits.LARGEST_ARRAYS} bytes')

    def group(self, group: h5py.Group, depth: int) -> dict[str, Any]:
        """Everything in a group."""
        if depth > limits.DEEPEST_ARRAYS:
            raise OSError(f'groups deeper than {limits.DEEPEST_ARRAYS} levels')
        values: dict[str, Any] = {}
        if len(group.attrs) + len(group) > limits.MOST_OBJECTS:
            raise OSError(f'more than {limits.MOST_OBJECTS} groups, arrays and numbers')
        for name in group.attrs:
            self.count()
            value = group.attrs[name]
            value = value.item() if isinstance(value, np.generic) else value
            if not isinstance(value, _JSON_LIKE):
                raise OSError(f'{name} is a {type(value).__name__}, wanted text or a number')
            values[name] = value
        for name in group:
            values[name] = self.item(group, name, depth)
        return values

    def item(self, group: h5py.Group, name: str, depth: int) -> Any:
        """A group or an array."""
        self.count()
        # Links out of the file would let one file read another.
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise OSError(f'{name} is a link, wanted data')
        item = group[name]
        if isinstance(item, h5py.Group):
            return self.group(item, depth + 1)
        if not isinstance(item, h5py.Dataset) or item.external or item.is_virtual:
            raise OSError(f'{name} keeps its data outside the file')
        is_text = h5py.check_string_dtype(item.dtype) is not None
        if not is_text and item.dtype.kind not in 'ifbu':
            raise OSError(f'{name} holds {item.dtype}, wanted numbers or text')
        self.count(item.nbytes)
        # Shape and content are stored apart: a shape of terabytes takes a hundred bytes.
        stored = item.id.get_storage_size()
        if item.nbytes > stored * (1 if item.chunks is None else limits.LARGEST_COMPRESSION):
            raise OSError(f'{name} has shape {item.shape}, but {stored} bytes in the file')
        plist = item.id.get_create_plist()
        filters = {plist.get_filter(k)[0] for k in range(plist.get_nfilters())}
        if unknown := filters - _FILTERS:
            raise OSError(f'{name} is packed by filter {min(unknown)}, wanted none or gzip')
        return np.array(item.asstr()[...], dtype=str) if is_text else item[...]
