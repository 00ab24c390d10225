"""Results, one folder a structure, each appearing at once or not at all.

A folder is written under another name and renamed when complete, so whoever sees ``results/KEY`` sees all of it.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiida_mlfc.core import bounded_json
from aiida_mlfc.exchange import limits
from aiida_mlfc.exchange.limits import check_file
from aiida_mlfc.exchange.names import RESULT_FILE, RESULTS, RUNNING, SCHEMA_VERSION, SUMMARY_FILE, check_key

#: of one result; there are four at most
MOST_FILES = 20


class ResultError(ValueError):
    """A result is missing, broken or not what its job asked for."""


def plain(value: Any) -> Any:
    """JSON without NaN or infinity: numbers that are not finite become null."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if hasattr(value, 'tolist'):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def check_results(folder: Path | str) -> None:
    """Refuse a results folder that would have results written elsewhere.

    :raises ResultError: if it, or the folder of marks in it, is a link.
    """
    results = Path(folder) / RESULTS
    for path in (results, results / RUNNING):
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise ResultError(f'{path.relative_to(folder)} is a link or a file, wanted a folder of its own')


def remove_marks(folder: Path | str) -> None:
    """Remove the marks of structures in progress, when none is any more."""
    shutil.rmtree(Path(folder) / RESULTS / RUNNING, ignore_errors=True)


def forget_result(folder: Path | str, key: str) -> None:
    """Remove the result of one structure, so that it is computed again."""
    _remove(Path(folder) / RESULTS / check_key(key))


def _remove(path: Path) -> None:
    """A folder with all that is in it, a file, or a link but not what it leads to."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with open(path, 'w') as handle:
        json.dump(plain(content), handle, indent=1, allow_nan=False)
        handle.flush()
        os.fsync(handle.fileno())


def write_result(
    folder: Path | str, key: str, content: dict[str, Any], write_files: Callable[[Path], None] | None = None
) -> None:
    """Commit the result of one structure.

    :param content: of ``result.json``; must hold ``status`` (``ok`` or ``failed``) and ``fingerprint``.
    :param write_files: called with the folder in which further files are to be written.
    :raises OSError: if they cannot be written; a result that was there before is still there.
    """
    results = Path(folder) / RESULTS
    final, partial = results / check_key(key), results / f'.{key}.partial'
    _remove(partial)
    partial.mkdir(parents=True)
    if write_files is not None:
        write_files(partial)
    _write_json(partial / RESULT_FILE, {'schema_version': SCHEMA_VERSION, 'key': key, **content})
    _remove(final)
    os.replace(partial, final)


def read_result(folder: Path | str, key: str) -> dict[str, Any]:
    """``result.json`` of one structure.

    :raises ResultError: if it is missing or broken.
    """
    path = Path(folder) / RESULTS / check_key(key) / RESULT_FILE
    try:
        content = bounded_json.loads(check_file(path, limits.LARGEST_JSON, Path(folder)).read_text())
        for k, file in enumerate(path.parent.iterdir()):
            if file.is_symlink() or k > MOST_FILES:
                raise OSError(f'{file.name} is a symbolic link, or one of more than {MOST_FILES} files')
    except FileNotFoundError as error:
        raise ResultError(f'no result for {key}') from error
    except (OSError, ValueError, RecursionError) as error:
        raise ResultError(f'the result of {key} cannot be read: {error}') from error
    if not isinstance(content, dict) or content.get('key') != key or content.get('status') not in ('ok', 'failed'):
        raise ResultError(f'the result of {key} is not a result of this package')
    return content


def is_done(folder: Path | str, key: str, fingerprint: str) -> bool:
    """Whether a result for exactly this input is there already."""
    try:
        return read_result(folder, key).get('fingerprint') == fingerprint
    except ResultError:
        return False


def write_summary(folder: Path | str, content: dict[str, Any]) -> None:
    """``results.json``, the last thing a job writes; without it the job did not finish."""
    partial = Path(folder) / f'.{SUMMARY_FILE}.partial'
    _write_json(partial, {'schema_version': SCHEMA_VERSION, **content})
    os.replace(partial, Path(folder) / SUMMARY_FILE)
