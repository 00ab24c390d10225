"""Phonopy's text and HDF5 files, with their announced sizes checked before phonopy's parsers see them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from phonopy.file_IO import parse_BORN_from_strings, parse_FORCE_CONSTANTS, parse_FORCE_SETS
from phonopy.interface.vasp import read_vasp
from phonopy.structure.atoms import PhonopyAtoms

from aiida_mlfc.core.references.files import plain_name, text_of
from aiida_mlfc.core.references.force_sets import ReferenceError
from aiida_mlfc.core.references.given_constants import check_shape


def cell_of_poscar(path: Path) -> PhonopyAtoms:
    """A cell in VASP's format, symbols in line 1 (VASP 4) or 6.

    :raises ReferenceError: if it cannot be read.
    """
    lines = text_of(path).splitlines()
    for line in lines[5:7]:
        words = line.split()
        if words and all(word.isdigit() for word in words) and sum(map(int, words)) > len(lines):
            raise ReferenceError(f'{path.name} announces {sum(map(int, words))} atoms in {len(lines)} lines')
    try:
        cell = read_vasp(path)
    except Exception as error:
        raise ReferenceError(f'{path.name} cannot be read as POSCAR ({_short(error)})') from error
    if not (np.isfinite(cell.cell).all() and np.isfinite(cell.scaled_positions).all()):
        raise ReferenceError(f'{path.name} holds positions or cell vectors that are not finite numbers')
    return cell


def dataset_of_force_sets(path: Path, n_super: int) -> dict[str, Any]:
    """FORCE_SETS of either type.

    :param n_super: atoms of the supercell.
    :raises ReferenceError: if forces are missing, of another number of atoms, or no numbers.
    """
    text = text_of(path)
    lines = [words for words in map(str.split, text.splitlines()) if words]
    if not lines:
        raise ReferenceError(f'{path.name} is empty')
    if len(lines[0]) == 1:
        _check_first_type(path.name, lines, n_super)
    elif len(lines[0]) != 6:
        raise ReferenceError(f'{path.name} begins with {len(lines[0])} numbers, wanted 1 or 6: no FORCE_SETS')
    elif len(lines) % n_super:
        raise ReferenceError(f'{path.name} has {len(lines)} lines, wanted a multiple of the {n_super} supercell atoms')
    with tempfile.TemporaryDirectory() as folder:
        # phonopy reads files only, and not compressed ones
        plain = Path(folder) / 'FORCE_SETS'
        plain.write_text(text)
        try:
            return dict(parse_FORCE_SETS(plain, natom=n_super))
        except (ValueError, IndexError, RuntimeError, TypeError, RecursionError) as error:
            raise ReferenceError(f'{path.name} is broken ({_short(error)})') from error


def _check_first_type(name: str, lines: list[list[str]], n_super: int) -> None:
    try:
        n_atoms, n_displacements = int(lines[0][0]), int(lines[1][0])
    except (ValueError, IndexError) as error:
        raise ReferenceError(f'{name} does not begin with the numbers of atoms and displacements') from error
    if n_atoms != n_super:
        raise ReferenceError(f'{name} is for {n_atoms} atoms, the supercell has {n_super}')
    wanted = 2 + n_displacements * (2 + n_atoms)
    if len(lines) != wanted:
        complete = max(0, (len(lines) - 2) // (2 + n_atoms))
        raise ReferenceError(
            f'{name} announces {n_displacements} displacements of {n_atoms} atoms, {wanted} lines, and has '
            f'{len(lines)}: forces of {n_displacements - complete} displacements are missing'
            if len(lines) < wanted
            else f'{name} has {len(lines)} lines, wanted {wanted} for {n_displacements} displacements'
        )


def array_of_force_constants(
    path: Path, n_prim: int, n_super: int, p2s_map: np.ndarray
) -> tuple[np.ndarray, str | None]:
    """FORCE_CONSTANTS or force_constants.hdf5, compact or full, and the unit if it is stated.

    :raises ReferenceError: if the numbers of atoms are others, or the file is broken.
    """
    of_hdf5 = path.suffix == '.hdf5'
    array, unit = _of_hdf5(path, p2s_map) if of_hdf5 else (_of_text(path, n_prim, n_super, p2s_map), None)
    check_shape(array, path.name, n_prim, n_super)
    return array, unit


def _of_text(path: Path, n_prim: int, n_super: int, p2s_map: np.ndarray) -> np.ndarray:
    text = text_of(path)
    lines = text.splitlines()
    words = lines[0].split() if lines else []
    if not words or not all(word.isdigit() for word in words):
        raise ReferenceError(f'{path.name} does not begin with numbers of atoms')
    shape = (int(words[0]), int(words[-1]))
    if shape not in ((n_prim, n_super), (n_super, n_super)):
        raise ReferenceError(f'{path.name} is for {shape[0]} x {shape[1]} atoms, the supercell has {n_super}')
    if len(lines) < 1 + 4 * shape[0] * shape[1]:
        raise ReferenceError(
            f'{path.name} has {len(lines)} lines, wanted {1 + 4 * shape[0] * shape[1]}: is it truncated?'
        )
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / 'FORCE_CONSTANTS'
        plain.write_text(text)
        try:
            return parse_FORCE_CONSTANTS(plain, p2s_map=p2s_map)
        except (ValueError, IndexError, RuntimeError) as error:
            raise ReferenceError(f'{path.name} is broken ({_short(error)})') from error


def _of_hdf5(path: Path, p2s_map: np.ndarray) -> tuple[np.ndarray, str | None]:
    import h5py

    try:
        with h5py.File(path, 'r') as handle:
            array = _own(handle, 'fc2' if 'fc2' in handle else 'force_constants', 'f', path.name).astype(float)
            if 'p2s_map' in handle and array.shape[:1] == p2s_map.shape:
                rows = _own(handle, 'p2s_map', 'iu', path.name)
                if not np.array_equal(rows, p2s_map):
                    raise ReferenceError(
                        f'{path.name} is for the atoms {rows.tolist()} of the supercell, wanted {p2s_map.tolist()}: '
                        'another primitive cell'
                    )
            unit = handle['physical_unit'][0].decode() if 'physical_unit' in handle else None
            return array, unit
    except (OSError, KeyError, IndexError, AttributeError, RuntimeError) as error:
        raise ReferenceError(f'{path.name} cannot be read, is it truncated? ({_short(error)})') from error


def _own(handle: Any, name: str, kinds: str, file: str) -> np.ndarray:
    """An array that lies in the file itself: storage outside would let it read another one.

    :param kinds: letters of NumPy's kinds of numbers.
    """
    import h5py

    data = handle[name] if isinstance(handle.get(name, getlink=True), h5py.HardLink) else None
    if not isinstance(data, h5py.Dataset) or data.external or data.is_virtual or data.dtype.kind not in kinds:
        raise ReferenceError(f'{file} has no {"force constants" if kinds == "f" else name} of its own')
    return np.array(data[...])


def born_of(path: Path, primitive: PhonopyAtoms, symprec: float) -> dict[str, Any]:
    """A BORN file for the symmetry-independent atoms of a primitive cell.

    :raises ReferenceError: if it does not fit.
    """
    try:
        found = parse_BORN_from_strings(text_of(path), primitive, symprec=symprec)
    except Exception as error:
        raise ReferenceError(f'{plain_name(path.name)} does not fit the primitive cell ({_short(error)})') from error
    return dict(found)


def _short(error: Exception) -> str:
    return ' '.join(str(error).split())[:200] or type(error).__name__
