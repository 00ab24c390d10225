"""Parser of ``mlfc.phonons``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from aiida_phonopy.data import ForceConstantsData

from aiida_mlfc.data.phonons import phonon_nodes
from aiida_mlfc.exchange.arrays import read_arrays
from aiida_mlfc.exchange.names import ARRAYS_FILE
from aiida_mlfc.parsers.base import MlfcParser


class PhononsParser(MlfcParser):
    """Bands, DOS, thermal properties, stability, by key."""

    def attach(self, key: str, folder: Path, data: dict[str, Any]) -> None:
        """One node each."""
        source = self.given['force_constants'][key]
        for name, node in phonons_from(folder, data, source).items():
            node.label = source.label
            self.out(f'{name}.{key}', node)


def phonons_from(folder: Path, data: dict[str, Any], source: ForceConstantsData) -> dict[str, Any]:
    """Unstored nodes by output from a result folder.

    :param data: numbers of the result.
    :param source: the force constants, for the primitive cell.
    """
    primitive = (np.asarray(source.cell).T @ np.asarray(source.primitive_matrix, dtype=float)).T
    return phonon_nodes(read_arrays(folder / ARRAYS_FILE), data, primitive)
