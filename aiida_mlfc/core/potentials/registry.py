"""From a name or a file to an EnergyModel. A new architecture is one folder and one line here."""

from __future__ import annotations

from pathlib import Path

import torch

from aiida_mlfc.core.checkpoint_files import resolve
from aiida_mlfc.core.potentials.checkpoints import load_dx
from aiida_mlfc.core.potentials.interface import EnergyModel

DTYPES = {'float64': torch.float64, 'float32': torch.float32}


def load_potential(name_or_path: str | Path, dtype: str | torch.dtype = 'float64', device: str = 'cpu') -> EnergyModel:
    """Load a potential that ships with the package, or one from a file.

    :param name_or_path: ``dx-demo``, or the path of a checkpoint.
    :param dtype: ``float64`` (default; force constants want it) or ``float32``.
    :param device: ``cpu``, ``cuda``, ``cuda:1``...
    :raises CheckpointError: if there is no such potential or its file is broken.
    """
    real = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if real not in DTYPES.values():
        raise ValueError(f'dtype: got {dtype!r}, wanted float64 or float32')
    return load_dx(resolve(name_or_path), real, device)
