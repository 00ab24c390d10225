"""Parser of ``mlfc.displace``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from aiida.orm import StructureData

from aiida_mlfc.exchange.arrays import read_arrays
from aiida_mlfc.exchange.job import structure_from_arrays
from aiida_mlfc.exchange.names import ARRAYS_FILE
from aiida_mlfc.parsers.base import MlfcParser


class DisplaceParser(MlfcParser):
    """Displaced structures."""

    def attach(self, key: str, folder: Path, data: dict[str, Any]) -> None:
        """The displaced structures, each checked against the crystal that it was made of."""
        found = read_arrays(folder / ARRAYS_FILE).get('structures', {})
        if set(found) != set(data['via']):
            raise ValueError(f'{key}: got structures {sorted(found)}, wanted {sorted(data["via"])}')
        given = self.given['structures'][key]
        composition = np.bincount(given.get_ase().numbers)
        nodes = {}
        for name, arrays in found.items():
            atoms = structure_from_arrays(arrays)
            repeats, rest = divmod(len(atoms), len(given.sites))
            if rest or not np.array_equal(np.bincount(atoms.numbers), repeats * composition):
                raise ValueError(f'{key}: {name} is no supercell of the input')
            node = StructureData(ase=atoms)
            node.label = f'{given.label} {name}'.strip()
            nodes[name] = node
        for name, node in nodes.items():
            self.out(f'displaced_structures.{key}_{name}', node)
