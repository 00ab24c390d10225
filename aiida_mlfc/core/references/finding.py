"""Which files make a reference: one a folder by phonopy's own names, and one for each other YAML file of phonopy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from aiida_mlfc.core.references.files import COMPRESSED, opened, plain_name

#: names that stand for the whole folder, the most complete first
_YAML = ('phonopy_params.yaml', 'phonopy.yaml', 'phonopy_fc.yaml', 'phonopy_disp.yaml')
_ROLES = {
    'forces': ('FORCE_SETS',),
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
_KEYS = (b'phonopy:', b'unit_cell:', b'supercell_matrix:', b'primitive_matrix:')


@dataclass(frozen=True)
class Candidate:
    """Files that look like one reference.

    :param files: ``yaml``, ``forces``, ``force_constants``, ``cell``, ``supercell``, ``born``, ``conf``, ``meta``.
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
    elif plain.lower().endswith(('.yaml', '.yml')) and plain not in _YAML:
        yield Candidate(_stem(plain), path, {'yaml': path})
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
    wanted = {'yaml': _YAML, **_ROLES}
    return {
        role: folder / by_plain[next(p for p in known if p in by_plain)]
        for role, known in wanted.items()
        if any(p in by_plain for p in known)
    }


def _in_folder(folder: Path, names: list[str], name: str, inner: str) -> Iterator[Candidate]:
    files = _roles(folder, [n for n in names if (folder / n).is_file() and not (folder / n).is_symlink()])
    if {'yaml', 'forces', 'force_constants'} & set(files):
        yield Candidate(name, folder, files)
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
        elif plain.lower().endswith(('.yaml', '.yml')) and plain not in _YAML and _is_phonopy(path, plain):
            yield Candidate(before + _stem(plain), path, {'yaml': path})


def _is_phonopy(path: Path, plain: str) -> bool:
    """Whether a YAML file of any name is phonopy's; one that cannot be opened might be."""
    if plain.lower().startswith(_NO_REFERENCE):
        return False
    try:
        with opened(path) as handle:
            head = handle.read(_HEAD)
    except (OSError, EOFError, ValueError):
        return True
    return any(key in head for key in _KEYS)
