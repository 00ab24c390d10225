"""Crystals from files: CIF, POSCAR, extxyz and folders of them. A broken file is one error, the others are read."""

from __future__ import annotations

import re
import stat
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read
from ase.io.cif import CIFBlock, parse_cif

from aiida_mlfc.core.structures.checks import StructureError, check_structure

SUFFIXES = ('.cif', '.vasp', '.poscar', '.extxyz', '.xyz')
_PREFIXES = ('POSCAR', 'CONTCAR')
#: bytes; a structure file is text of some kB
LARGEST_FILE = 50_000_000
#: structures in one file
MOST_STRUCTURES = 100_000
#: in one structure; phonons of more are out of reach
MOST_ATOMS = 10_000
#: numbers of one atom in extended XYZ
MOST_COLUMNS = 1000
#: bytes of a CIF, whose reader takes 10 µs for each
LARGEST_CIF = 5_000_000
#: sites that a CIF lists, times the operations of its space group: ASE compares each image with all before
MOST_IMAGES = 50_000
#: a Born-charge file stands beside the structure it belongs to, with the name of the crystal and this suffix
BORN_SUFFIX = '.BORN'


@dataclass(frozen=True)
class Crystal:
    """One crystal of a file, or the reason why there is none.

    :param name: file name without suffix, with ``#k`` where a file holds several.
    :param atoms: None if reading failed.
    :param error: why it failed; empty if it did not.
    :param born: file with its Born charges, if one stands beside it.
    """

    name: str
    path: Path
    atoms: Atoms | None
    error: str = ''
    born: Path | None = None


def structure_files(paths: Sequence[Path | str]) -> list[Path]:
    """The files themselves, and those with a known suffix in folders, sorted, at every depth.

    :raises FileNotFoundError: for a path that does not exist.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            found += sorted(p for p in path.rglob('*') if p.is_file() and _is_structure(p))
        elif path.exists():
            found.append(path)
        else:
            raise FileNotFoundError(f'there is no file or folder {path}')
    return list(dict.fromkeys(found))


def _is_structure(path: Path) -> bool:
    if path.suffix == BORN_SUFFIX:
        return False
    return path.suffix.lower() in SUFFIXES or path.name.startswith(_PREFIXES)


def read_crystals(paths: Sequence[Path | str]) -> Iterator[Crystal]:
    """Every crystal of every file, in order; a file that cannot be read is a crystal with an error."""
    for path in structure_files(paths):
        name = path.stem if path.suffix.lower() in SUFFIXES else path.name
        shared = path.with_name(name + BORN_SUFFIX)
        try:
            frames = _read_file(path)
        except StructureError as error:
            yield Crystal(name, path, None, str(error))
            continue
        except Exception as error:  # noqa: BLE001 (readers raise whatever they like; it becomes this file's error)
            # What a reader says about a broken file is often about the reader: "pop from empty list".
            reason = _one_line(error)
            if not isinstance(error, StructureError):
                reason = f'cannot be read, is it truncated or of another format? ({reason})'
            yield Crystal(name, path, None, reason)
            continue
        for k, atoms in enumerate(frames):
            label = name if len(frames) == 1 else f'{name}#{k}'
            born = path.with_name(label + BORN_SUFFIX)
            try:
                if born != shared and shared.is_file():
                    raise StructureError(
                        f'{shared.name} is of one crystal, {path.name} holds {len(frames)}: rename it to {name}#0'
                        f'{BORN_SUFFIX}, if it belongs to the first, or move it away'
                    )
                _check_size(len(atoms))
                check_structure(atoms)
            except StructureError as error:
                yield Crystal(label, path, None, str(error))
            else:
                # Left-handed lattice vectors turned round: the same crystal, and phonopy wants them so.
                cell = np.array(atoms.cell) * np.sign(np.linalg.det(atoms.cell))
                plain = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=cell, pbc=True)
                yield Crystal(label, path, plain, born=born if born.is_file() else None)


def _one_line(error: Exception) -> str:
    text = ' '.join(str(error).split()) or f'the reader gave up with {type(error).__name__}'
    if isinstance(error, KeyError):
        text = f'nothing is called {text}'
    return text if len(text) < 300 else text[:300] + '...'


def _read_file(path: Path) -> list[Atoms]:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise StructureError('is no regular file, wanted one with a structure in it')
    largest = min(LARGEST_CIF, LARGEST_FILE) if path.suffix.lower() == '.cif' else LARGEST_FILE
    if found.st_size > largest:
        raise StructureError(f'the file has {found.st_size} bytes, wanted at most {largest}')
    if path.suffix.lower() != '.cif':
        _check_counts(path)
    with warnings.catch_warnings():
        # Readers warn about what is checked below, or raise.
        warnings.simplefilter('ignore')
        # Here a reader leaves a line out that it cannot make sense of: an atom less.
        warnings.filterwarnings('error', 'Wrong number')
        if path.suffix.lower() == '.cif':
            return _read_cif(path)
        if path.suffix.lower() in ('.extxyz', '.xyz'):
            frames = read(path, ':', format='extxyz', do_not_split_by_at_sign=True)
        else:
            frames = [read(path, format='vasp', do_not_split_by_at_sign=True)]
    if not frames:
        raise StructureError('the file holds no structure')
    return frames


def _check_size(n_atoms: int) -> None:
    if n_atoms > MOST_ATOMS:
        raise StructureError(f'the structure has {n_atoms} atoms, wanted at most {MOST_ATOMS}')


def _check_counts(path: Path) -> None:
    """Refuse a file that announces more atoms than it has lines: readers would loop over them, for hours if need be."""
    lines = path.read_bytes().splitlines()
    if path.suffix.lower() in ('.extxyz', '.xyz'):
        counts = [line for line in lines if len(line.split()) == 1]
        _check_columns(lines)
    else:
        counts = lines[5:7]
    for line in counts:
        words = line.split()
        if words and all(word.isdigit() for word in words) and sum(map(int, words)) > len(lines):
            raise StructureError(
                f'the file announces {sum(map(int, words))} atoms in {len(lines)} lines: is it truncated?'
            )
    if len(counts) > MOST_STRUCTURES:
        raise StructureError(f'the file holds about {len(counts)} structures, wanted at most {MOST_STRUCTURES}')


def _check_columns(lines: list[bytes]) -> None:
    """Refuse a header that announces columns without end; the reader would make room for each."""
    for line in lines:
        for properties in re.findall(rb'[Pp]roperties\s*=\s*"?([^\s"]*)', line) if b'roperties' in line else ():
            numbers = [int(word[:20]) for word in properties.split(b':') if word.isdigit()]
            if sum(numbers) > MOST_COLUMNS:
                raise StructureError(f'the file announces {sum(numbers)} columns, wanted at most {MOST_COLUMNS}')


def _read_cif(path: Path) -> list[Atoms]:
    """By ASE, with the checks that ASE leaves out: disorder, doubled sites, and a formula that does not fit."""
    frames = []
    for block in parse_cif(str(path), reader='ase'):
        if not block.has_structure():
            continue
        occupancies = block.get('_atom_site_occupancy')
        if occupancies is not None and any(isinstance(x, (int, float)) and x < 1 - 1e-3 for x in occupancies):
            raise StructureError('partial occupancies: phonons need an ordered crystal')
        # On the sites as listed, before symmetry merges what coincides.
        listed = block.get_unsymmetrized_structure()
        _check_images(len(listed), block)
        listed.pbc = True
        check_structure(listed)
        atoms = block.get_atoms()
        stated = block.get('_chemical_formula_sum')
        if isinstance(stated, str) and not _formula_fits(stated, atoms):
            got = atoms.get_chemical_formula(mode='metal')
            raise StructureError(f'the file states the formula {stated}, its sites give {got}: is it truncated?')
        frames.append(atoms)
    if not frames:
        raise StructureError('the file holds no complete structure')
    return frames


def _check_images(n_sites: int, block: CIFBlock) -> None:
    """Refuse what would take hours to multiply by symmetry."""
    _check_size(n_sites)
    n_operations = len(block.get_spacegroup(subtrans_included=True).get_symop())
    if n_sites > 1 and n_operations > 1 and n_sites * n_operations > MOST_IMAGES:
        raise StructureError(
            f'the file lists {n_sites} sites under {n_operations} symmetry operations, wanted at most {MOST_IMAGES} '
            'images: list all atoms without symmetry, or the asymmetric unit alone'
        )


def _formula_fits(stated: str, atoms: Atoms) -> bool:
    """Whether the stated formula is a multiple or fraction of the composition; unreadable formulas pass."""
    parts = re.findall(r'([A-Z][a-z]?)\s*([\d.]*)', stated)
    try:
        wanted: dict[str, float] = {}
        for symbol, count in parts:
            # Isotopes: ASE reads deuterium and tritium sites as hydrogen.
            name = 'H' if symbol in ('D', 'T') else symbol
            wanted[name] = wanted.get(name, 0.0) + float(count or 1)
    except ValueError:
        return True
    symbols = atoms.get_chemical_symbols()
    got = {symbol: symbols.count(symbol) for symbol in set(symbols)}
    if set(wanted) != set(got):
        return not wanted
    ratios = np.array([got[symbol] / wanted[symbol] for symbol in got])
    return bool(np.allclose(ratios, ratios[0], rtol=1e-2))
