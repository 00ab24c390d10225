"""Archives as people download them, unpacked without trust: nothing outside the target, no links, bounded in size."""

from __future__ import annotations

import stat
import tarfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO

from aiida_mlfc.core.references.files import LARGEST_FILE, opened
from aiida_mlfc.core.references.finding import is_of_interest
from aiida_mlfc.core.references.force_sets import ReferenceError

#: bytes of all files of an archive together
LARGEST_ARCHIVE = 4 * LARGEST_FILE
MOST_FILES = 50_000
_CHUNK = 1 << 20


class _Bounded:
    """A stream that stops a compressed bomb: reading beyond the bound is an error."""

    def __init__(self, handle: IO[bytes]) -> None:
        self.handle, self.left = handle, LARGEST_ARCHIVE

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes."""
        content = self.handle.read(min(size, self.left + 1) if size >= 0 else self.left + 1)
        self.left -= len(content)
        if self.left < 0:
            raise ReferenceError(f'the archive holds more than {LARGEST_ARCHIVE} bytes')
        return content


def unpack(path: Path, target: Path) -> None:
    """Write the files that can belong to references below ``target``, the others not at all.

    :raises ReferenceError: for an archive that is broken, too large, or has names leading out of it or links.
    """
    try:
        if path.suffix.lower() == '.zip':
            _unpack_zip(path, target)
        else:
            _unpack_tar(path, target)
    except ReferenceError:
        raise
    except Exception as error:  # readers of archives raise whatever they like; it is this archive's error
        raise ReferenceError(f'the archive cannot be read, is it truncated? ({error})') from error


def _place(name: str, target: Path) -> Path:
    """Where a member goes."""
    parts = PurePosixPath(name.replace('\\', '/')).parts
    if '..' in parts or name.startswith(('/', '\\')) or ':' in parts[0]:
        raise ReferenceError(f'the archive holds {name!r}, which leads out of it')
    place = target.joinpath(*parts)
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def _copy(source: IO[bytes], place: Path, left: int) -> int:
    """Copy within the bounds; what is left of them."""
    size = 0
    with place.open('wb') as handle:
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            if size > LARGEST_FILE or size > left:
                raise ReferenceError(f'{place.name} in the archive holds more than {min(LARGEST_FILE, left)} bytes')
            handle.write(chunk)
    return left - size


def _unpack_zip(path: Path, target: Path) -> None:
    left = LARGEST_ARCHIVE
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > MOST_FILES:
            raise ReferenceError(f'the archive holds {len(members)} files, wanted at most {MOST_FILES}')
        for member in members:
            if member.is_dir() or not is_of_interest(PurePosixPath(member.filename).name):
                continue
            if stat.S_ISLNK(member.external_attr >> 16):
                raise ReferenceError(f'{member.filename!r} in the archive is a link, wanted a file')
            with archive.open(member) as source:
                left = _copy(source, _place(member.filename, target), left)


def _unpack_tar(path: Path, target: Path) -> None:
    left, count = LARGEST_ARCHIVE, 0
    # .txz and .tgz say by their last letters what they are
    suffix = {'.txz': '.xz', '.tgz': '.gz'}.get(path.suffix.lower())
    with _stream(path, suffix) as handle, tarfile.open(fileobj=_Bounded(handle), mode='r|') as archive:  # type: ignore[call-overload]
        for member in archive:
            count += 1
            if count > MOST_FILES:
                raise ReferenceError(f'the archive holds more than {MOST_FILES} files')
            if member.isdir() or not is_of_interest(PurePosixPath(member.name).name):
                continue
            if not member.isreg():
                raise ReferenceError(f'{member.name!r} in the archive is a link or a device, wanted a file')
            source = archive.extractfile(member)
            if source is not None:
                left = _copy(source, _place(member.name, target), left)


def _stream(path: Path, suffix: str | None) -> IO[bytes]:
    if suffix is None:
        return opened(path)
    import gzip
    import lzma

    return lzma.open(path) if suffix == '.xz' else gzip.open(path)  # type: ignore[return-value]
