"""Files to references: one at a time, or everything in files, folders and archives, broken ones named and passed over.

``phonopy.load`` is not used: it takes BORN, FORCE_SETS and FORCE_CONSTANTS from the working directory, makes Python
objects of YAML, and symmetrises what it builds from displacements but not what it reads. Here both are treated alike.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from aiida_mlfc.core.references.archives import unpack
from aiida_mlfc.core.references.assembling import assemble
from aiida_mlfc.core.references.finding import Candidate, find
from aiida_mlfc.core.references.force_sets import ReferenceError
from aiida_mlfc.core.references.record import Reference, Refusal
from aiida_mlfc.core.references.settings import Settings

#: archives in archives in archives
DEEPEST_ARCHIVE = 2


def read_reference(candidate: Candidate, settings: Settings | None = None) -> Reference:
    """One reference.

    :raises ReferenceError: saying why it cannot be used.
    """
    if candidate.error:
        raise ReferenceError(candidate.error)
    started = time.perf_counter()
    try:
        return assemble(candidate, settings or Settings(), started)
    except ReferenceError:
        raise
    except MemoryError as error:
        raise ReferenceError('is too large for the memory of this machine') from error
    except Exception as error:  # one broken reference must not take the others with it
        text = ' '.join(str(error).split())[:200]
        raise ReferenceError(f'cannot be read ({type(error).__name__}: {text})') from error


def read_references(paths: Sequence[Path | str], settings: Settings | None = None) -> Iterator[Reference | Refusal]:
    """Every reference in files, folders and archives, in order; what cannot be used comes as a :class:`Refusal`.

    :raises FileNotFoundError: for a path that does not exist.
    """
    for path in map(Path, paths):
        for candidate in find(path):
            yield from _read(candidate, settings, DEEPEST_ARCHIVE)


def _read(candidate: Candidate, settings: Settings | None, deepest: int) -> Iterator[Reference | Refusal]:
    if candidate.archive:
        yield from _read_archive(candidate, settings, deepest)
        return
    try:
        yield read_reference(candidate, settings)
    except ReferenceError as error:
        yield Refusal(candidate.name, candidate.path, str(error))


def _read_archive(candidate: Candidate, settings: Settings | None, deepest: int) -> Iterator[Reference | Refusal]:
    """References of an archive; one alone is called after the archive."""
    if deepest == 0:
        yield Refusal(candidate.name, candidate.path, 'is an archive in an archive in an archive')
        return
    with tempfile.TemporaryDirectory(prefix='mlfc-reference-') as folder:
        try:
            unpack(candidate.path, Path(folder))
        except ReferenceError as error:
            yield Refusal(candidate.name, candidate.path, str(error))
            return
        inner = list(find(Path(folder)))
        if not inner:
            yield Refusal(candidate.name, candidate.path, 'the archive holds no files of a reference')
        for found in inner:
            # the archive itself unpacked flat is called after the temporary folder
            flat = found.path == Path(folder)
            name = candidate.name if len(inner) == 1 or flat else f'{candidate.name}/{found.name}'
            for item in _read(replace(found, name=name), settings, deepest - 1):
                if isinstance(item, Refusal):
                    yield Refusal(item.name, candidate.path, item.error)
                else:
                    yield replace(item, source=replace(item.source, path=str(candidate.path)))
