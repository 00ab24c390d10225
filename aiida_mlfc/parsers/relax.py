"""Parser of ``mlfc.relax``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from aiida.orm import StructureData

from aiida_mlfc.calculations.relax import RELAXED, UNCONVERGED
from aiida_mlfc.exchange.arrays import read_arrays
from aiida_mlfc.exchange.job import structure_from_arrays
from aiida_mlfc.exchange.names import ARRAYS_FILE
from aiida_mlfc.parsers.base import MlfcParser


class RelaxParser(MlfcParser):
    """Relaxed structures."""

    def attach(self, key: str, folder: Path, data: dict[str, Any]) -> None:
        """The relaxed structure, checked against the one that went in."""
        self.out(f'{RELAXED}.{key}', structure_from(folder / ARRAYS_FILE, self.given['structures'][key]))

    def attach_failed(self, key: str, folder: Path) -> None:
        """Where a relaxation stood that did not converge."""
        if (folder / ARRAYS_FILE).exists():
            self.out(f'{UNCONVERGED}.{key}', structure_from(folder / ARRAYS_FILE, self.given['structures'][key]))


def structure_from(path: Path, given: StructureData) -> StructureData:
    """The structure that a relaxation left, checked against the one that went in, with its label.

    :raises ValueError: if it holds other atoms.
    """
    atoms = structure_from_arrays(read_arrays(path)['structure'])
    if not np.array_equal(atoms.numbers, given.get_ase().numbers):
        raise ValueError('the relaxed structure holds other atoms than the input')
    node = StructureData(ase=atoms)
    node.label = given.label
    return node
