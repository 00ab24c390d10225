"""Rows of screens that have ended, kept with them: a table of ten thousand results then reads twenty extras.

The work chain keeps them when it ends, or else whoever asks for them first. A row never changes once its screen has
come to its end (one that was killed may have children that go on). Kept rows are a copy for speed, in an extra of the
screen: where it is deleted, the next table makes it anew from the nodes. They name crystals by the labels that their
structures had when the rows were made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from aiida.manage import get_manager
from aiida.orm import QueryBuilder, WorkChainNode

from aiida_mlfc import __version__
from aiida_mlfc.data.facts import chunks
from aiida_mlfc.reports.plain_json import json_text
from aiida_mlfc.reports.rows import KEYS, Row

#: extra of a screen: its rows by key of the crystal, as JSON
EXTRA_ROWS = 'mlfc_rows'
#: rows that another release has written are made anew
_WRITER = f'{__version__} {" ".join(KEYS)}'


def keep(screen: WorkChainNode, rows: Mapping[str, Row]) -> None:
    """Keep the rows of a finished screen; an archive that is only read is left as it is.

    :param rows: of all its crystals, by key, read after it was finished.
    """
    if not get_manager().get_profile_storage().read_only:
        screen.base.extras.set(EXTRA_ROWS, json_text({'writer': _WRITER, 'rows': rows}))


def kept(pks: Sequence[int]) -> dict[int, dict[str, Row]]:
    """Rows by key of the crystal, by primary key of those screens that have them."""
    found = {}
    for some in chunks(pks):
        query = QueryBuilder().append(
            WorkChainNode, filters={'id': {'in': some}}, project=['id', f'extras.{EXTRA_ROWS}']
        )
        for pk, text in query.all():
            content = json.loads(text) if text else {}
            if content.get('writer') == _WRITER:
                found[pk] = content['rows']
    return found
