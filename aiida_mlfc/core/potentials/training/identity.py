"""What a training state belongs to: settings and data in a form that another run can be compared with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor

from aiida_mlfc.core.potentials.interface import EnergyModel


def model_identity(model: EnergyModel) -> dict[str, Any]:
    """Settings of the architecture, and the shape of every weight."""
    config = getattr(model, 'config', None)
    return {
        'architecture': type(model).__name__,
        'settings': {} if config is None else _plain(config),
        'weights': {name: list(value.shape) for name, value in model.state_dict().items()},
    }


def _plain(config: Any) -> dict[str, Any]:
    return dict(config.to_dict() if hasattr(config, 'to_dict') else asdict(config))


def digest_of(tensors: Sequence[Tensor], note: str = '') -> str:
    """sha256 over the values and shapes of tensors, and a text."""
    digest = hashlib.sha256(note.encode())
    for tensor in tensors:
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    return repr(tuple(tensor.shape)).encode() + tensor.detach().cpu().contiguous().numpy().tobytes()
