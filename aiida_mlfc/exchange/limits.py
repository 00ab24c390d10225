"""How large anything may be that is read from a job folder: files that others wrote are data, and finite.

Each limit lies far above what the package itself writes; whoever reaches one has a broken or a hostile file.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

#: bytes of ``job.yaml``; a hundred thousand structures have about ten million
LARGEST_JOB_FILE = 40_000_000
#: structures of one job
MOST_STRUCTURES = 100_000
#: levels of ``job.yaml``
DEEPEST_JOB_FILE = 32
#: characters of a name
LONGEST_NAME = 500
#: characters of all options, as JSON
LONGEST_OPTIONS = 200_000
#: bytes of ``result.json`` and ``results.json``
LARGEST_JSON = 40_000_000
#: bytes of an HDF5 file, and of all arrays in it: force constants of 200 atoms in supercells of 5000 have 72 MB
LARGEST_ARRAYS = 2**30
#: groups, arrays and attributes of an HDF5 file
MOST_OBJECTS = 10_000
#: levels of groups in an HDF5 file
DEEPEST_ARRAYS = 16
#: of an array beside what it takes in the file; deflate reaches 1032
LARGEST_COMPRESSION = 1100


def check_file(path: Path, largest: int, beneath: Path | None = None) -> Path:
    """A regular file of bounded size.

    :param largest: bytes.
    :param beneath: no part of the path below this folder may be a symbolic link, which could lead anywhere.
    :raises FileNotFoundError: if there is none.
    :raises OSError: for a link, a device, a pipe, a folder, or too large a file.
    """
    if beneath is not None:
        part = beneath
        for name in path.relative_to(beneath).parts:
            part = part / name
            if part.is_symlink():
                raise OSError(f'{part.relative_to(beneath)} is a symbolic link, wanted the file or folder itself')
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(f'{path.name} is no regular file')
    if found.st_size > largest:
        raise OSError(f'{path.name} has {found.st_size} bytes, wanted at most {largest}')
    return path
