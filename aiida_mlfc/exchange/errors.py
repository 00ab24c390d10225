"""Types of errors in results that say nothing about the crystal: elsewhere, or another time, it may be computed."""

from __future__ import annotations

#: what the machine refused
OF_THE_MACHINE = ('OutOfMemoryError', 'KilledError', 'MemoryError')
#: of a result that cannot be read
UNREADABLE = 'UnreadableResult'
