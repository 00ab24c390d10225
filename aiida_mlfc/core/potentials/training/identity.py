"""What a training state belongs to: settings and data in a form that another run can be compared with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from aiida_mlfc.core.potentials.interface import EnergyModel

if TYPE_CHECKING:
    from aiida_mlfc.core.potentials.training.loop import Material


def model_identity(model: EnergyModel) -> dict[str, Any]:
    """Settings of the architecture, and the shape of every weight."""
    config = getattr(model, 'config', None)
    return {
        'architecture': type(model).__name__,
        'settings': {} if config is None else config.to_dict(),
        'weights': {name: list(value.shape) for name, value in model.state_dict().items()},
    }


def data_identity(materials: Sequence[Material]) -> list[str]:
    """One line a material: its name, and the sha256 of what was read from files.

    Fitted force constants are left out: their last digits depend on the machine that fitted them.
    """
    return [f'{material.name} {_digest(material)}' for material in materials]


def _digest(material: Material) -> str:
    digest = hashlib.sha256()
    graph = material.supercell
    for tensor in (material.displacements, material.forces, graph.positions, graph.cell, graph.atom_types):
        digest.update(_bytes(tensor))
    digest.update(repr([cell.graph.n_atoms for cell in material.cells]).encode())
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    return repr(tuple(tensor.shape)).encode() + tensor.detach().cpu().contiguous().numpy().tobytes()
