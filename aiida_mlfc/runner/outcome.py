"""What a task gives back for one structure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


class Interrupted(Exception):
    """A task stopped because it was told to, and kept what another run needs to continue; the message says what."""


#: content of ``result.json``, and a function that writes the other files
Outcome = tuple[dict[str, Any], Callable[[Path], None]]
