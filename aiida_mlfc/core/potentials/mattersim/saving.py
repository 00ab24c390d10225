"""A trained M3GNet in the layout of official MatterSim checkpoints, with its card beside the weights."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import torch

from aiida_mlfc.core.mattersim_files import CARD_KEY, MODEL_NAME
from aiida_mlfc.core.potentials.mattersim.basis import MAX_L, MAX_N
from aiida_mlfc.core.potentials.mattersim.model import M3GNet

#: what official files hold beside weights; of no use to a model that is not trained on with the official package
_EMPTY = ('optimizer', 'ema', 'scheduler', 'validation_metrics')


def save_mattersim(model: M3GNet, path: Path | str) -> None:
    """Write weights (float32), arguments and card, atomically.

    :param model: its ``metadata`` becomes the model card, ``model_args`` excepted.
    """
    card = {key: value for key, value in model.metadata.items() if key not in ('model_args', 'sha256')}
    content = {
        'model_name': MODEL_NAME,
        'model': {name: v.detach().cpu().to(torch.float32).contiguous() for name, v in model.state_dict().items()},
        'model_args': {**asdict(model.config), 'max_l': MAX_L, 'max_n': MAX_N},
        **{key: {} for key in _EMPTY},
        'last_epoch': 0,
        'description': str(card.get('description', '')),
        CARD_KEY: json.dumps(card),
    }
    path = Path(path)
    partial = path.with_suffix('.partial')
    torch.save(content, partial)
    os.replace(partial, path)
