"""JSON that every reader accepts: plain values, no NaN, no infinity."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """The same value made of dict, list, str, int, float, bool and None.

    A number that is not finite becomes None, for JSON has no NaN and a browser refuses what Python writes for it.
    """
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    return str(value)


def rounded(values: np.ndarray | Iterable[float | None], decimals: int) -> list[float | None]:
    """A one-dimensional array as a list of short numbers; what is not finite becomes None (a gap in a figure).

    :param decimals: kept behind the point; figures need no more digits than eyes resolve, and the page stays small.
    """
    array = np.array(values, dtype=float)  # turns None into NaN
    array = np.round(array, decimals) + 0.0  # no -0.0
    return [float(x) if math.isfinite(x) else None for x in array]


def json_text(value: Any, indent: int | None = None) -> str:
    """ASCII JSON: lone surrogates in a name (an undecodable file name) survive as escapes."""
    separators = (',', ':') if indent is None else None
    return json.dumps(plain(value), allow_nan=False, ensure_ascii=True, indent=indent, separators=separators)


def write_atomically(path: str | os.PathLike[str], pieces: Iterable[str]) -> Path:
    """Write text so that whoever looks sees the old file or the new one, never a part.

    :param pieces: the text, in order; it is never held as a whole.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f'.{target.name}.{os.getpid()}.part')
    try:
        with unfinished.open('w', encoding='utf-8', newline='\n') as handle:
            handle.writelines(pieces)
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)
    return target
