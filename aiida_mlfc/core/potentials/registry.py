"""From a name or a file to an EnergyModel. A new architecture is one folder and one line here."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path

import torch

from aiida_mlfc.core.checkpoint_files import read_header, resolve
from aiida_mlfc.core.potentials.checkpoints import load_dx
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.mattersim.weights import load_mattersim

DTYPES = {'float64': torch.float64, 'float32': torch.float32}
#: by architecture, what makes a model of a file
LOADERS: dict[str, Callable[[Path, torch.dtype, str], EnergyModel]] = {'dx': load_dx, 'mattersim': load_mattersim}


def load_potential(name_or_path: str | Path, dtype: str | torch.dtype = 'float64', device: str = 'cpu') -> EnergyModel:
    """Load a potential that ships with the package, one that is fetched on first use, or one from a file.

    :param name_or_path: ``dx-demo``, ``dx-wide``, ``dx-si``; ``mattersim-v1.0.0-1m``, ``mattersim-v1.0.0-5m``;
        ``mattersim`` for the file in ``MLFC_MATTERSIM_CHECKPOINT`` or else the 1M model; or the path of a checkpoint.
    :param dtype: ``float64`` (default; force constants want it) or ``float32``.
    :param device: ``cpu``, ``cuda``, ``cuda:1``...
    :raises CheckpointError: if there is no such potential or its file is broken.
    """
    real = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if real not in DTYPES.values():
        raise ValueError(f'dtype: got {dtype!r}, wanted float64 or float32')
    path = resolve(name_or_path)
    # A file of no known architecture goes to dx, whose loader says what it wanted.
    return LOADERS.get(read_header(path).architecture, load_dx)(path, real, device)


def as_potential(potential: EnergyModel | str | PathLike[str]) -> EnergyModel:
    """A potential as it is; that of a name or a file loaded, in float64 on the CPU, see :func:`load_potential`."""
    if isinstance(potential, str):
        return load_potential(potential)
    return load_potential(Path(potential)) if isinstance(potential, PathLike) else potential
