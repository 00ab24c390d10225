"""Nested dictionaries of arrays, numbers and text as one HDF5 file, written atomically."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

#: kinds of values that are kept as attributes
_JSON_LIKE = (str, bool, int, float)


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

    :raises OSError: if the file is missing, truncated or not HDF5.
    """
    with h5py.File(path, 'r') as handle:
        return _read_group(handle)


def _read_group(group: h5py.Group) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in group.attrs.items():
        values[name] = value.item() if isinstance(value, np.generic) else value
    for name in group:
        # Links out of the file would let one file read another.
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise OSError(f'{name} is a link, wanted data')
        item = group[name]
        if isinstance(item, h5py.Group):
            values[name] = _read_group(item)
        elif not isinstance(item, h5py.Dataset) or item.external or item.is_virtual:
            raise OSError(f'{name} keeps its data outside the file')
        elif h5py.check_string_dtype(item.dtype):
            values[name] = np.array(item.asstr()[...], dtype=str)
        else:
            values[name] = item[...]
    return values
