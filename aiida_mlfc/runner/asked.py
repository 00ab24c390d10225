"""SIGTERM and Ctrl-C as a question, for work that ends its step and saves its state before it stops."""

from __future__ import annotations

import signal
from threading import current_thread, main_thread
from typing import Any


class Asked:
    """Notes them while it is entered; handlers are what they were afterwards."""

    def __init__(self) -> None:
        self.asked = False
        self.before: dict[int, Any] = {}

    def is_asked(self) -> bool:
        """Whether one of them came."""
        return self.asked

    def __enter__(self) -> Asked:
        def note(signum: int, frame: Any) -> None:
            self.asked = True

        # only the main thread may; elsewhere (tests) nobody sends signals
        if current_thread() is main_thread():
            self.before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
