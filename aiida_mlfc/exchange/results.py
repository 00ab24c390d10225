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
from aiida_mlfc.exchange.names import RESULT_FILE, RESULTS, SCHEMA_VERSION, SUMMARY_FILE, check_key


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
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if write_files is not None:
        write_files(partial)
    _write_json(partial / RESULT_FILE, {'schema_version': SCHEMA_VERSION, 'key': key, **content})
    if final.exists():
        shutil.rmtree(final)
    os.replace(partial, final)


def read_result(folder: Path | str, key: str) -> dict[str, Any]:
    """``result.json`` of one structure.

    :raises ResultError: if it is missing or broken.
    """
    path = Path(folder) / RESULTS / check_key(key) / RESULT_FILE
    try:
        content = bounded_json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ResultError(f'no result for {key}') from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
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
