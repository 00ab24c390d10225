"""Born charges and dielectric tensor as a node, from phonopy's BORN file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from aiida.orm import ArrayData
from ase import Atoms

from aiida_mlfc.core.structures.cells import to_phonopy


def nac_params_node(born: np.ndarray, dielectric: np.ndarray) -> ArrayData:
    """An unstored ArrayData.

    :param born: shape ``(n_prim, 3, 3)``, elementary charges, index order atom, polarisation, displacement.
    :param dielectric: high-frequency, shape ``(3, 3)``.
    """
    node = ArrayData()
    node.set_array('born', np.asarray(born, dtype=float))
    node.set_array('dielectric', np.asarray(dielectric, dtype=float))
    return node


def read_born(path: Path | str, structure: Atoms, symprec: float) -> ArrayData:
    """Parse a BORN file for the primitive cell of ``structure``.

    :raises ValueError: if it does not fit the primitive cell.
    """
    from phonopy.file_IO import parse_BORN
    from phonopy.structure.cells import get_primitive, guess_primitive_matrix

    cell = to_phonopy(structure)
    try:
        primitive = get_primitive(cell, guess_primitive_matrix(cell, symprec=symprec), symprec=symprec)
        found = parse_BORN(primitive, symprec=symprec, filename=str(path))
    except Exception as error:
        raise ValueError(f'{Path(path).name} does not fit the primitive cell of the structure: {error}') from error
    return nac_params_node(found['born'], found['dielectric'])
