"""Members of an ensemble: copies of a model that differ in weights in which the energy is linear.

These are the weights of the last layer, which the card holds, or the coefficients of a cluster expansion, which the
checkpoint holds. Forces and force constants are linear in them, too. A model without has no uncertainty to give.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import nn

from aiida_mlfc.core.potentials.dx.model import DXModel
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.mattersim.model import M3GNet

#: key in the card
UNCERTAINTY = 'uncertainty'


def last_layer(model: EnergyModel) -> nn.Linear:
    """The layer in whose weights the energy is linear.

    :raises TypeError: for an architecture of which that is not known.
    """
    if isinstance(model, DXModel):
        layer = model.readout[-1]
    elif isinstance(model, M3GNet):
        # the gate of the same network multiplies it and has weights of its own
        layer = model.final.g[-1].linear
    else:
        raise TypeError(f'uncertainty: got a {type(model).__name__}, wanted dx or mattersim')
    assert isinstance(layer, nn.Linear)
    return layer


def with_last_weights(model: EnergyModel, weights: np.ndarray) -> EnergyModel:
    """A copy with other weights in the last layer.

    :param weights: shape ``(n_features,)``.
    """
    copy = deepcopy(model)
    with torch.no_grad():
        last_layer(copy).weight.copy_(torch.as_tensor(weights)[None])
    return copy


def packed(differences: np.ndarray) -> str:
    """Differences of members from the model as text: base64 of little-endian float32.

    :param differences: shape ``(n_members, n_features)``.
    """
    return base64.b64encode(np.ascontiguousarray(differences, dtype='<f4').tobytes()).decode()


def members(model: EnergyModel) -> Iterator[EnergyModel]:
    """The members of a model; none if its card holds no uncertainty.

    :raises ValueError: if what the card holds does not belong to this model.
    """
    entry: Mapping[str, Any] | None = model.metadata.get(UNCERTAINTY)
    if entry is None:
        return
    if 'members' not in entry:
        yield from _of_expansion(model, entry['n_members'])
        return
    weights = last_layer(model).weight.detach().cpu().numpy()[0]
    flat = np.frombuffer(base64.b64decode(entry['members']), dtype='<f4').astype(float)
    if flat.size != entry['n_members'] * len(weights) or not np.isfinite(flat).all():
        raise ValueError(
            f'uncertainty: the card holds {flat.size} numbers, wanted {entry["n_members"]} members of {len(weights)}'
        )
    for difference in flat.reshape(entry['n_members'], len(weights)):
        yield with_last_weights(model, weights + difference)


def _of_expansion(model: EnergyModel, n_members: int) -> Iterator[EnergyModel]:
    if not isinstance(model, DXModel) or model.expansion is None or len(model.expansion.members) != n_members:
        raise ValueError(f'uncertainty: the card says {n_members} members, the checkpoint has others or none')
    for difference in model.expansion.members:
        yield with_coefficients(model, model.expansion.coefficients + difference)


def with_coefficients(model: DXModel, coefficients: torch.Tensor) -> DXModel:
    """A copy with other coefficients in its cluster expansion, and without members of its own.

    :param coefficients: shape ``(n_coefficients,)``, eV.
    """
    copy = deepcopy(model)
    assert copy.expansion is not None
    copy.set_members(copy.expansion.members[:0])
    copy.expansion.set_coefficients(coefficients)
    return copy
