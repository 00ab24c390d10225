"""What lies in the results folder of a job."""

from pathlib import Path

import h5py
import numpy as np


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """When and as which file each result was written: both change if it is computed again."""
    found = (folder / 'results').glob('[A-Za-z]*/result.json')
    return {path.parent.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def force_constants(folder: Path, key: str) -> np.ndarray:
    with h5py.File(folder / 'results' / key / 'force_constants.hdf5') as handle:
        return handle['force_constants'][...]
