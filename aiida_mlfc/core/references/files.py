"""Bytes of files that others wrote: decompressed up to a bound, never more."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
from pathlib import Path
from typing import IO, Any

from aiida_mlfc.core.references.force_sets import ReferenceError

#: bytes after decompression; phonopy.yaml of a large cell with many configurations has some 50 MB
LARGEST_FILE = 400_000_000
COMPRESSED = ('.xz', '.lzma', '.gz', '.bz2')


def plain_name(name: str) -> str:
    """The name without the suffix of a compression."""
    return next((name.removesuffix(suffix) for suffix in COMPRESSED if name.lower().endswith(suffix)), name)


def opened(path: Path) -> IO[bytes]:
    """The decompressed bytes of a file as a stream."""
    suffix = path.suffix.lower()
    if suffix in ('.xz', '.lzma'):
        return lzma.open(path)
    if suffix == '.gz':
        return gzip.open(path)  # type: ignore[return-value]
    if suffix == '.bz2':
        return bz2.open(path)
    return path.open('rb')


def content_of(path: Path, bound: int = LARGEST_FILE) -> bytes:
    """The decompressed content.

    :raises ReferenceError: if it is longer than ``bound``, or the compression is broken.
    """
    try:
        with opened(path) as handle:
            content = handle.read(bound + 1)
    except (lzma.LZMAError, EOFError, OSError) as error:
        raise ReferenceError(f'{path.name} cannot be read, is it truncated? ({error})') from error
    if len(content) > bound:
        raise ReferenceError(f'{path.name} holds more than {bound} bytes; that is no reference')
    return content


def text_of(path: Path) -> str:
    """The decompressed text.

    :raises ReferenceError: if it is none.
    """
    try:
        return content_of(path).decode()
    except UnicodeDecodeError as error:
        raise ReferenceError(f'{path.name} is no text ({error})') from error


def sha256_of(path: Path) -> str:
    """sha256 of the file as it lies there."""
    digest = hashlib.sha256()
    with path.open('rb') as handle:
        while chunk := handle.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def yaml_of(path: Path) -> dict[str, Any]:
    """A YAML mapping, with nothing in it executed (phonopy's own loader would make Python objects).

    :raises ReferenceError: if it is broken or holds no mapping.
    """
    import yaml

    loader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
    try:
        content = yaml.load(content_of(path), Loader=loader)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ReferenceError(f'{path.name} is no YAML: {" ".join(str(error).split())[:200]}') from error
    if not isinstance(content, dict):
        raise ReferenceError(f'{path.name} holds no mapping')
    return content
