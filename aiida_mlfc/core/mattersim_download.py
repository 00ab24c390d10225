"""Official MatterSim checkpoints by name: found in the user's cache, or fetched once with resume and checks.

How a file is trusted. This project was written without access to the published files, so it knows no checksum of
theirs and invents none: ``Release.sha256`` is to be filled by whoever has verified one. Until then a download is
accepted if it is complete (the size the server stated) and is a zip archive with right checksums; its sha256 is written
beside it at that moment and every later use compares (trust on first use). A value passed by the user, or in
``MLFC_MATTERSIM_SHA256``, is demanded from the first use on.
"""

from __future__ import annotations

import fcntl
import os
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from os import PathLike
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from aiida_mlfc.core.checkpoint_header import CheckpointError, MissingCheckpointError, sha256_of

#: names the file that stands for the default potential
CHECKPOINT_VARIABLE = 'MLFC_MATTERSIM_CHECKPOINT'
#: checksum that a file fetched by name must have, hexadecimal
SHA256_VARIABLE = 'MLFC_MATTERSIM_SHA256'
#: another address to fetch from, for mirrors
URL_VARIABLE = 'MLFC_MATTERSIM_URL'
#: folder for fetched files; ``~/.cache/aiida-mlfc`` by default
CACHE_VARIABLE = 'MLFC_CACHE'
#: where the official package (1.2.3) fetches its files
OFFICIAL_URL = 'https://raw.githubusercontent.com/microsoft/mattersim/main/pretrained_models/'
#: seconds without an answer
TIMEOUT = 30.0
#: attempts, each resuming the one before
ATTEMPTS = 4
CHUNK = 1 << 16


class DownloadError(CheckpointError):
    """The checkpoint could not be fetched; the message says what to do."""


@dataclass(frozen=True)
class Release:
    """A published checkpoint."""

    name: str
    filename: str
    #: verified checksum, hexadecimal; None where nobody has verified one yet
    sha256: str | None = None


RELEASES = {
    release.name: release
    for release in (
        Release('mattersim-v1.0.0-1m', 'mattersim-v1.0.0-1M.pth'),
        Release('mattersim-v1.0.0-5m', 'mattersim-v1.0.0-5M.pth'),
    )
}
DEFAULT_RELEASE = 'mattersim-v1.0.0-1m'


def default_checkpoint() -> Path:
    """The file named by ``MLFC_MATTERSIM_CHECKPOINT``, or else the published 1M model.

    :raises MissingCheckpointError: if the variable names no file.
    """
    named = os.environ.get(CHECKPOINT_VARIABLE)
    if not named:
        return find_checkpoint(DEFAULT_RELEASE)
    path = Path(named).expanduser()
    if not path.is_file():
        raise MissingCheckpointError(
            f'{CHECKPOINT_VARIABLE}: {named} is not a file; wanted a MatterSim checkpoint (.pth)'
        )
    return path


def find_checkpoint(name_or_path: str | PathLike[str], sha256: str | None = None) -> Path:
    """A file as it is, or a published name (any case, with or without ``.pth``) from the cache, fetched if missing.

    :param sha256: checksum that the file must have.
    :raises MissingCheckpointError: if it is neither.
    """
    path = Path(name_or_path).expanduser()
    release = RELEASES.get(str(name_or_path).lower().removesuffix('.pth'))
    if path.is_file() or release is None:
        if not path.is_file():
            raise MissingCheckpointError(
                f'potential: {name_or_path} is neither a file nor one of the published names {", ".join(RELEASES)}'
            )
        return path
    return fetch(release, sha256=sha256)


def cache_folder() -> Path:
    """Where fetched files lie."""
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE]).expanduser() / 'mattersim'
    root = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
    return Path(root).expanduser() / 'aiida-mlfc' / 'mattersim'


def fetch(
    release: Release,
    folder: Path | None = None,
    base_url: str | None = None,
    sha256: str | None = None,
    attempts: int = ATTEMPTS,
    timeout: float = TIMEOUT,
) -> Path:
    """The file of a release, from the cache or from the network.

    :param folder: the cache; :func:`cache_folder` by default.
    :param base_url: address of the folder that holds the file.
    :param sha256: checksum that the file must have, hexadecimal.
    :param attempts: how often a broken connection is taken up again.
    :param timeout: seconds without an answer.
    :raises DownloadError: if the network does not give the file.
    :raises CheckpointError: if the file is not the one expected.
    """
    folder = folder or cache_folder()
    wanted = sha256 or os.environ.get(SHA256_VARIABLE) or release.sha256
    target = folder / release.filename
    folder.mkdir(parents=True, exist_ok=True)
    # Two jobs that start together must not write one file.
    with _locked(folder / f'{release.filename}.lock'):
        if not target.is_file():
            part = folder / f'{release.filename}.part'
            _download((base_url or os.environ.get(URL_VARIABLE) or OFFICIAL_URL).rstrip('/') + '/' + release.filename,
                      part, attempts, timeout)
            _accept(part, target, wanted)
        verify(target, wanted)
    return target


def verify(path: Path, sha256: str | None = None) -> None:
    """Compare a cached file with the checksum expected, and with the one recorded when it was fetched.

    :raises CheckpointError: if one of them differs.
    """
    digest, record = sha256_of(path), _record(path)
    recorded = record.read_text().split()[0] if record.is_file() and record.read_text().strip() else None
    for source, value in (('the value asked for', sha256), (f'the record {record.name}', recorded)):
        if value is not None and value.lower() != digest:
            raise CheckpointError(
                f'sha256: {path} has {digest}, wanted {value} ({source}). Delete the file and its record to fetch it '
                'anew.'
            )
    if recorded is None:
        record.write_text(f'{digest}  {path.name}\n')


def _accept(part: Path, target: Path, sha256: str | None) -> None:
    """Move a complete download to its place, if it is what it should be."""
    digest = sha256_of(part)
    reason = None
    if sha256 is not None and digest != sha256.lower():
        reason = f'sha256 {digest}, wanted {sha256}'
    elif not zipfile.is_zipfile(part):
        # A login page of a proxy comes with status 200 too.
        with open(part, 'rb') as stream:
            reason = f'no zip archive (first bytes {stream.read(16)!r}): perhaps a page of a proxy'
    if reason is not None:
        part.unlink()
        raise CheckpointError(f'the file fetched as {target.name} was refused and removed: {reason}')
    _record(target).write_text(f'{digest}  {target.name}\n')
    os.replace(part, target)


def _record(path: Path) -> Path:
    return path.with_name(path.name + '.sha256')


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, 'w') as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _download(url: str, part: Path, attempts: int, timeout: float) -> None:
    """Fetch ``url`` into ``part``, resuming what an earlier attempt left, until its length is the one stated."""
    failure: Exception | None = None
    for attempt in range(attempts):
        if attempt:
            time.sleep(min(2 ** (attempt - 1), 8) * timeout / TIMEOUT)
        try:
            _continue(url, part, timeout)
        except urllib.error.HTTPError as error:
            error.close()
            # 416: what lies here is longer than the file there; start over.
            if error.code == 416 and part.is_file():
                part.unlink()
            elif error.code < 500:
                raise DownloadError(f'{url} answered {error.code} {error.reason}. {_ADVICE}') from error
            failure = error
        except (OSError, HTTPException) as error:
            failure = error
        else:
            return
    raise DownloadError(f'{url} could not be fetched after {attempts} attempts ({failure}): offline? {_ADVICE}')


def _continue(url: str, part: Path, timeout: float) -> None:
    """One attempt."""
    tag_file = part.with_name(part.name + '.etag')
    have = part.stat().st_size if part.is_file() else 0
    tag = tag_file.read_text() if tag_file.is_file() else ''
    request = urllib.request.Request(url, headers={'User-Agent': 'aiida-mlfc'})
    # Without a tag nothing says that the rest belongs to the same file.
    if have and tag:
        request.add_header('Range', f'bytes={have}-')
        request.add_header('If-Range', tag)
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        resumed = answer.status == 206
        have = have if resumed else 0
        length = answer.headers.get('Content-Length')
        total = None if length is None else have + int(length)
        etag = answer.headers.get('ETag') or ''
        tag_file.write_text('' if etag.startswith('W/') else etag)
        console = Console(stderr=True)
        columns = (TextColumn('{task.description}'), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with (
            open(part, 'ab' if resumed else 'wb') as stream,
            Progress(*columns, console=console, disable=not console.is_terminal) as progress,
        ):
            bar = progress.add_task(part.stem, total=total, completed=have)
            while chunk := answer.read(CHUNK):
                stream.write(chunk)
                progress.advance(bar, len(chunk))
    size = part.stat().st_size
    if total is not None and size != total:
        raise ConnectionError(f'the connection ended after {size} of {total} bytes')
    tag_file.unlink()


_ADVICE = (
    f'Fetch the file on a machine with network and pass its path as the potential, or set {CHECKPOINT_VARIABLE} to it; '
    f'a mirror goes into {URL_VARIABLE}.'
)
