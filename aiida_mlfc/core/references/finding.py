"""Which files make a reference: one a folder by phonopy's own names, and one for each other YAML file of phonopy.

phono3py's files make one for the supercell of third order, and one more where second order has a supercell of its own.
"""

from __future__ import annotations

import lzma
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from aiida_mlfc.core.references.files import COMPRESSED, opened, plain_name

#: names that stand for the whole folder, the most complete first
_YAML = ('phonopy_params.yaml', 'phonopy.yaml', 'phonopy_fc.yaml', 'phonopy_disp.yaml')
#: the same of phono3py
_YAML_OF_PHONO3PY = ('phono3py_params.yaml', 'phono3py.yaml', 'phono3py_disp.yaml')
#: of each order, the role of phono3py's YAML, and those of its forces
PHONO3PY = {3: ('phono3py_fc3', 'forces_fc3'), 2: ('phono3py_fc2', 'forces_fc2')}
_ROLES = {
    'forces': ('FORCE_SETS',),
    'forces_fc3': ('FORCES_FC3',),
    'forces_fc2': ('FORCES_FC2',),
    'force_constants': ('FORCE_CONSTANTS', 'force_constants.hdf5', 'fc2.hdf5'),
    'cell': ('POSCAR-unitcell', 'POSCAR_unitcell', 'POSCAR-unitcell.vasp', 'POSCAR', 'POSCAR.vasp'),
    'supercell': ('SPOSCAR', 'POSCAR-supercell'),
    'born': ('BORN',),
    'conf': ('phonopy.conf', 'disp.conf', 'setting.conf'),
    'meta': ('meta.json',),
}
#: of other programs and of phonopy's output; not worth looking into
_NO_REFERENCE = ('band', 'mesh', 'thermal', 'total_dos', 'qpoints', 'gruneisen', 'irreps', 'symmetry', 'job')
ARCHIVES = ('.zip', '.tar', '.tgz', '.txz', *(f'.tar{suffix}' for suffix in COMPRESSED))
#: bytes at the beginning of a YAML file in which phonopy's keys are looked for
_HEAD = 4000
_KEYS = (b'phonopy:', b'phono3py:', b'unit_cell:', b'supercell_matrix:', b'primitive_matrix:')
#: lines at which the cells of phono3py's YAML end and its displacements begin
_END_OF_CELLS = (b'displacement', b'dataset:', b'phonon_displacements:', b'phonon_dataset:')


@dataclass(frozen=True)
class Candidate:
    """Files that look like one reference.

    :param files: ``yaml``, ``forces``, ``force_constants``, ``cell``, ``supercell``, ``born``, ``conf``, ``meta``; of
        phono3py instead of the first two those of :data:`PHONO3PY` for one order.
    :param archive: an archive that has to be unpacked first; then ``files`` is empty.
    :param error: why it is none after all.
    :param asked_for: the key in ``files`` of a file that was named itself: it overrules what its neighbours hold.
    """

    name: str
    path: Path
    files: dict[str, Path] = field(default_factory=dict)
    archive: bool = False
    error: str = ''
    asked_for: str = ''

    @property
    def order(self) -> int:
        """Of the force constants that the sets of phono3py are for, 3 or 2; 0 where the files are phonopy's."""
        return next((order for order, (role, _) in PHONO3PY.items() if role in self.files), 0)

    @property
    def yaml(self) -> Path | None:
        """Phonopy's or phono3py's YAML file."""
        return self.files.get(PHONO3PY[self.order][0] if self.order else 'yaml')


def archive_stem(name: str) -> str | None:
    """The name of an archive without its suffixes; None for what is none."""
    found = max((s for s in ARCHIVES if name.lower().endswith(s)), key=len, default=None)
    return None if found is None else name[: -len(found)]


def is_of_interest(name: str) -> bool:
    """Whether a file of this name can be part of a reference."""
    plain = plain_name(name)
    return (
        any(plain in names for names in _ROLES.values())
        or plain.lower().endswith(('.yaml', '.yml'))
        or archive_stem(name) is not None
    )


def find(path: Path) -> Iterator[Candidate]:
    """References in a file or, at any depth, a folder, in the order of their names; links are not followed.

    :raises FileNotFoundError: if there is nothing.
    """
    if not path.exists():
        raise FileNotFoundError(f'there is no file or folder {path}')
    if path.is_dir():
        for folder, below, names in os.walk(path):
            below.sort()
            here = Path(folder)
            inner = here.relative_to(path).as_posix()
            yield from _in_folder(here, names, path.resolve().name if inner == '.' else inner, inner)
        return
    plain = plain_name(path.name)
    if archive_stem(path.name) is not None:
        yield Candidate(archive_stem(path.name) or path.name, path, archive=True)
    elif plain in (*_YAML_OF_PHONO3PY, *_ROLES['forces_fc3'], *_ROLES['forces_fc2']):
        yield from _named_of_phono3py(path, plain)
    elif plain.lower().endswith(('.yaml', '.yml')) and plain not in _YAML:
        yield from _of_any_yaml(_stem(plain), path)
    else:
        # One of phonopy's own names: its neighbours belong to it.
        files = _roles(path.parent, os.listdir(path.parent))
        role = next((r for r, names in _ROLES.items() if plain in names), 'yaml' if plain in _YAML else None)
        if role is None:
            yield Candidate(path.name, path, error=f'{path.name} is no file of a reference that is known here')
            return
        files[role] = path
        if role in ('forces', 'force_constants'):
            files.pop({'forces': 'force_constants', 'force_constants': 'forces'}[role], None)
        yield Candidate(path.resolve().parent.name, path, files, asked_for=role)


def _stem(plain: str) -> str:
    return plain.rpartition('.')[0] or plain


def _roles(folder: Path, names: list[str]) -> dict[str, Path]:
    """The files of a folder by what they are; of several the first of its list."""
    by_plain = {plain_name(name): name for name in sorted(names, reverse=True)}
    wanted = {'yaml': _YAML, 'phono3py': _YAML_OF_PHONO3PY, **_ROLES}
    return {
        role: folder / by_plain[next(p for p in known if p in by_plain)]
        for role, known in wanted.items()
        if any(p in by_plain for p in known)
    }


def _of_phono3py(name: str, path: Path, files: dict[str, Path], yaml: Path) -> Iterator[Candidate]:
    """One candidate of third order, one of second where it has a supercell of its own.

    :param files: neighbours of the YAML by their roles.
    """
    shared = {role: file for role, file in files.items() if role in ('born', 'meta')}
    second = _has_second_supercell(yaml)
    for order in (3, 2) if second else (3,):
        role, forces = PHONO3PY[order]
        own = {role: yaml, **shared}
        if forces in files:
            own[forces] = files[forces]
        if 'force_constants' in files and order == (2 if second else 3):
            # of second order, in the supercell of second order
            own['force_constants'] = files['force_constants']
        yield Candidate(name if order == 3 else f'{name}-fc2', path, own)


def _named_of_phono3py(path: Path, plain: str) -> Iterator[Candidate]:
    """One of phono3py's own files: its neighbours belong to it, but only the order that it is of."""
    files = _roles(path.parent, os.listdir(path.parent))
    yaml = path if plain in _YAML_OF_PHONO3PY else files.pop('phono3py', None)
    name = path.resolve().parent.name
    if yaml is None:
        yield Candidate(name, path, error=f'{plain} is of phono3py, but there is no phono3py_disp.yaml beside it')
        return
    asked = next((role for role in ('forces_fc3', 'forces_fc2') if plain in _ROLES[role]), '')
    if asked:
        files[asked] = path
    for candidate in _of_phono3py(name, path, files, yaml):
        if not asked or asked in candidate.files:
            yield replace(candidate, asked_for=asked)


def _of_any_yaml(name: str, path: Path) -> Iterator[Candidate]:
    """A YAML file alone, of phonopy or phono3py."""
    if _begins_with(path, (b'phono3py:',)):
        yield from _of_phono3py(name, path, {}, path)
    else:
        yield Candidate(name, path, {'yaml': path})


def _has_second_supercell(path: Path) -> bool:
    """Whether second order has a supercell of its own; a file that cannot be opened says why when it is read."""
    try:
        with opened(path) as handle:
            for line in handle:
                if line.startswith(b'phonon_supercell_matrix:'):
                    return True
                if line.startswith(_END_OF_CELLS):
                    return False
    except (OSError, EOFError, ValueError, lzma.LZMAError):
        pass
    return False


def _in_folder(folder: Path, names: list[str], name: str, inner: str) -> Iterator[Candidate]:
    files = _roles(folder, [n for n in names if (folder / n).is_file() and not (folder / n).is_symlink()])
    yaml = files.pop('phono3py', None)
    of_phonopy = {role: path for role, path in files.items() if role not in ('forces_fc3', 'forces_fc2')}
    if {'yaml', 'forces'} & set(files) or ('force_constants' in files and (yaml is None or 'cell' in files)):
        yield Candidate(name, folder, of_phonopy)
        if yaml is not None:
            own = {role: path for role, path in files.items() if role != 'force_constants'}
            yield from _of_phono3py(f'{name}-phono3py', folder, own, yaml)
    elif yaml is not None:
        yield from _of_phono3py(name, folder, files, yaml)
    elif {'forces_fc3', 'forces_fc2'} & set(files):
        yield Candidate(name, folder, error='holds forces of phono3py, but phono3py_disp.yaml is missing')
    elif any(plain_name(n) == 'configs.extxyz' for n in names):
        yield Candidate(
            name, folder, error='holds configurations but no perfect supercell: phonopy_params.yaml is missing'
        )
    before = '' if inner == '.' else f'{inner}/'
    for other in sorted(names):
        path, plain = folder / other, plain_name(other)
        if path.is_symlink() or not path.is_file():
            continue
        stem = archive_stem(other)
        if stem is not None:
            yield Candidate(before + stem, path, archive=True)
        elif not plain.lower().endswith(('.yaml', '.yml')) or plain in (*_YAML, *_YAML_OF_PHONO3PY):
            continue
        elif _is_phonopy(path, plain):
            yield from _of_any_yaml(before + _stem(plain), path)


def _is_phonopy(path: Path, plain: str) -> bool:
    """Whether a YAML file of any name is phonopy's; one that cannot be opened might be."""
    return not plain.lower().startswith(_NO_REFERENCE) and _begins_with(path, _KEYS, True)


def _begins_with(path: Path, keys: tuple[bytes, ...], unreadable: bool = False) -> bool:
    """Whether one of these keys stands at the beginning of a file; ``unreadable`` for one that cannot be opened."""
    try:
        with opened(path) as handle:
            head = handle.read(_HEAD)
    except (OSError, EOFError, ValueError):
        return unreadable
    return any(key in head for key in keys)
