"""JSON from files that somebody else wrote: depth is bounded before the parser sees it.

CPython's JSON parser recurses in C. Deep nesting is a ``RecursionError`` only while the recursion limit is low; where a
library has raised it, the stack overflows and the process dies.
"""

from __future__ import annotations

import json
import re
from typing import Any

#: nesting beyond this is no header or result of ours
LARGEST_DEPTH = 64
_BRACKETS = re.compile(r'[\[\]{}]')


def loads(content: str | bytes) -> Any:
    """``json.loads``, refusing deep nesting.

    Brackets inside strings are counted too: stored cards are JSON in strings, and balanced.

    :raises ValueError: if the content is no JSON, no UTF-8, or nested deeper than ``LARGEST_DEPTH``.
    """
    text = content.decode() if isinstance(content, bytes) else content
    depth = 0
    for bracket in _BRACKETS.finditer(text):
        depth += 1 if bracket[0] in '[{' else -1
        if depth > LARGEST_DEPTH:
            raise ValueError(f'JSON nested deeper than {LARGEST_DEPTH} levels')
    return json.loads(text)
