"""Text that others wrote, as it may go to a terminal, a log or a message."""

from __future__ import annotations

import unicodedata


def printable(text: object, longest: int | None = None) -> str:
    """A text on one line without anything that a terminal obeys.

    Control characters (escape sequences begin with one), marks that reverse the direction of writing, private and
    undecodable characters are dropped; any kind of white space becomes one blank.

    :param longest: characters; what is beyond is cut off, and said so.
    """
    one_line = ' '.join(str(text).split())
    if longest is not None and len(one_line) > longest:
        one_line = f'{one_line[:longest]}... ({len(one_line)} characters)'
    return ''.join(c for c in one_line if unicodedata.category(c)[0] != 'C')
