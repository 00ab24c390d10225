"""Parser of ``mlfc.force_constants``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiida.orm import ArrayData, StructureData
from aiida_phonopy.data import ForceConstantsData

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
        nac = self.given.get('nac_params', {}).get(key)
        node = force_constants_from(folder, ARRAYS_FILE, data, nac)
        node.label = self.given['structures'][key].label
        self.out(f'output_force_constants.{key}', node)


def force_constants_from(
    folder: Path, unitcell_file: str, data: dict[str, Any], nac: ArrayData | None
) -> ForceConstantsData:
    """An unstored node from a result folder.

    :param unitcell_file: holds the cell that the array belongs to: the job puts cells exactly on their symmetry.
    :param data: numbers of the result.
    :param nac: Born charges that were given; otherwise those of the potential, if it has charges.
    :raises ValueError: if the array does not fit the cells.
    """
    array = read_array(folder / FORCE_CONSTANTS_FILE, 'force_constants')
    unitcell = StructureData(ase=structure_from_arrays(read_arrays(folder / unitcell_file)['structure']))
    if nac is None and 'nac_params' in data:
        nac = nac_params_node(**data['nac_params'])
    return force_constants_node(unitcell, array, data, nac)
