"""What every checkpoint says about itself, whatever its format, and the errors of one that does not."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class CheckpointError(ValueError):
    """The file is missing, broken, tampered with, or not one of ours; the message says which."""


class MissingCheckpointError(CheckpointError, FileNotFoundError):
    """There is no such file."""


@dataclass(frozen=True)
class CheckpointHeader:
    """What a checkpoint says about itself.

    :param architecture: ``dx`` or ``mattersim``.
    :param config: settings of the architecture.
    :param card: the model card: training data, licence, errors, limits of validity.
    """

    architecture: str
    config: dict[str, Any]
    card: dict[str, Any]

    @property
    def species(self) -> list[int]:
        """Atomic numbers the model knows."""
        return [int(z) for z in self.config['species']]

    @property
    def cutoff(self) -> float:
        """Å."""
        names = ('cutoff', 'pair_cutoff', 'triplet_cutoff') if self.config.get('expansion_systems') else ('cutoff',)
        return max(float(self.config[name]) for name in names)


def sha256_of(path: Path | str) -> str:
    """Hexadecimal sha256 of a file."""
    with open(path, 'rb') as handle:
        return hashlib.file_digest(handle, 'sha256').hexdigest()
