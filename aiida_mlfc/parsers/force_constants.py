"""Parser of ``mlfc.force_constants``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiida.orm import StructureData

from aiida_mlfc.data.force_constants import force_constants_node
from aiida_mlfc.data.nac import nac_params_node
from aiida_mlfc.exchange.arrays import read_array, read_arrays
from aiida_mlfc.exchange.job import structure_from_arrays
from aiida_mlfc.exchange.names import ARRAYS_FILE, FORCE_CONSTANTS_FILE
from aiida_mlfc.parsers.base import MlfcParser


class ForceConstantsParser(MlfcParser):
    """aiida-phonopy's ForceConstantsData, by key."""

    def attach(self, key: str, folder: Path, data: dict[str, Any]) -> None:
        """The force constants with the cell they belong to, and the quality record as an attribute."""
        array = read_array(folder / FORCE_CONSTANTS_FILE, 'force_constants')
        # The job puts the cell exactly on its symmetry; these are the positions the array belongs to.
        unitcell = StructureData(ase=structure_from_arrays(read_arrays(folder / ARRAYS_FILE)['structure']))
        nac = self.given.get('nac_params', {}).get(key)
        if nac is None and 'nac_params' in data:
            nac = nac_params_node(**data['nac_params'])
        node = force_constants_node(unitcell, array, data, nac)
        node.label = self.given['structures'][key].label
        self.out(f'output_force_constants.{key}', node)
