"""Whatever a user calls a MatterSim potential, as a model."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import torch

from aiida_mlfc.core.checkpoint_files import MATTERSIM, resolve, shipped_names
from aiida_mlfc.core.checkpoint_header import CheckpointError
from aiida_mlfc.core.mattersim_download import default_checkpoint, find_checkpoint
from aiida_mlfc.core.potentials.mattersim.model import M3GNet
from aiida_mlfc.core.potentials.mattersim.weights import from_official, load_mattersim


def read_potential(potential: Any, device: torch.device | str = 'cpu') -> M3GNet:
    """A model from a path, a name, a model of ours, an official ``Potential``, or None: the default.

    Names are those of :func:`~aiida_mlfc.core.potentials.registry.load_potential`. Files and official objects give the
    stored float32 numbers; a model of ours is taken as it is.

    :raises ~aiida_mlfc.core.checkpoint_header.CheckpointError: for a file or a name that is no MatterSim.
    :raises TypeError: for anything else.
    """
    if potential is None:
        return load_mattersim(default_checkpoint(), torch.float32, device)
    if isinstance(potential, M3GNet):
        return potential.to(device)
    if isinstance(potential, str | PathLike):
        return load_mattersim(_file_of(potential), torch.float32, device)
    official = getattr(potential, 'model', potential)
    if hasattr(official, 'model_args') and hasattr(official, 'state_dict'):
        state = {name: value.detach().cpu() for name, value in official.state_dict().items()}
        return from_official(state, official.model_args).to(device)
    raise TypeError(
        f'potential: got {type(potential).__name__}, wanted the path of a checkpoint, a published name, a loaded '
        'MatterSim model, or None'
    )


def _file_of(name_or_path: str | PathLike[str]) -> Path:
    """The checkpoint that a path or a name of the registry stands for; a file goes before a name."""
    if not Path(name_or_path).expanduser().is_file():
        if str(name_or_path).lower() == MATTERSIM:
            return resolve(MATTERSIM)
        if str(name_or_path) in shipped_names():
            raise CheckpointError(
                f'potential: {name_or_path} ships with this package and is no MatterSim; load it with load_potential. '
                'Wanted the path of a MatterSim checkpoint or a published name'
            )
    return find_checkpoint(name_or_path)
