"""One file a potential: safetensors, with settings and model card in its header. Nothing in it executes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from aiida_mlfc.core.checkpoint_files import FORMAT_KEY, FORMAT_VERSION, read_header
from aiida_mlfc.core.checkpoint_header import CheckpointError, sha256_of
from aiida_mlfc.core.potentials.dx.config import DXConfig
from aiida_mlfc.core.potentials.dx.model import DXModel
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.mattersim.model import M3GNet
from aiida_mlfc.core.potentials.mattersim.saving import save_mattersim

#: names of what can be written
ARCHITECTURES: dict[type[EnergyModel], str] = {DXModel: 'dx', M3GNet: 'mattersim'}


def save_potential(model: EnergyModel, path: Path | str) -> None:
    """Write a model with its card, in the format of its architecture.

    :raises TypeError: for an architecture that has none.
    """
    if isinstance(model, DXModel):
        save_dx(model, path)
    elif isinstance(model, M3GNet):
        save_mattersim(model, path)
    else:
        raise TypeError(f'got a {type(model).__name__}, wanted one of {", ".join(ARCHITECTURES.values())}')


def save_dx(model: DXModel, path: Path | str) -> None:
    """Write weights (float32), settings and card as one safetensors file, atomically.

    :param model: its ``metadata`` becomes the model card.
    """
    header = {
        FORMAT_KEY: str(FORMAT_VERSION),
        'architecture': 'dx',
        'config': json.dumps(model.config.to_dict()),
        'card': json.dumps(model.metadata),
    }
    tensors = {name: value.detach().cpu().to(torch.float32).contiguous() for name, value in model.state_dict().items()}
    path = Path(path)
    partial = path.with_suffix('.partial')
    partial.write_bytes(save(tensors, metadata=header))
    os.replace(partial, path)


def load_dx(path: Path | str, dtype: torch.dtype = torch.float64, device: str = 'cpu') -> DXModel:
    """The model of a file, every weight accounted for.

    :raises CheckpointError: if the file is broken, or its weights do not fit its settings.
    """
    path = Path(path)
    header = read_header(path)
    if header.architecture != 'dx':
        raise CheckpointError(f'{path.name} holds a {header.architecture!r} model, wanted dx')
    try:
        with safe_open(str(path), framework='pt') as handle:
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f'{path.name} cannot be read: {error}') from error
    # Before anything is allocated: every size in the settings is a dimension of some tensor, or counts tensors.
    largest = max([len(tensors), *(size for value in tensors.values() for size in value.shape)])
    asked = max((value for value in header.config.values() if isinstance(value, int)), default=0)
    if asked > largest:
        raise CheckpointError(f'{path.name}: weights and settings do not belong together: {asked} of {largest}')
    try:
        model = DXModel(DXConfig.from_dict(header.config), header.card)
        model.load_state_dict(tensors, strict=True)
    except (RuntimeError, ValueError, TypeError) as error:
        raise CheckpointError(f'{path.name}: weights and settings do not belong together: {error}') from error
    if not all(torch.isfinite(value).all() for value in tensors.values()):
        raise CheckpointError(f'{path.name} holds weights that are not finite numbers')
    model.metadata['sha256'] = sha256_of(path)
    return model.to(dtype=dtype, device=device).requires_grad_(False).eval()
