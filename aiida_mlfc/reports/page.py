"""One self-contained page: table, figures and provenance of a whole screen, readable without a network for years.

Everything that came from a file (names, errors, provenance) travels as JSON and is shown as text. Scripts run only
where their hash is in the page's own security policy, and the policy forbids every connection.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from aiida_mlfc.core.phonons.record import Phonons
from aiida_mlfc.reports.page_data import crystal_parcel, entry_of, overview
from aiida_mlfc.reports.plain_json import json_text, write_atomically
from aiida_mlfc.reports.rows import Row

#: one script on the page: tools first, what runs at once last
_SCRIPTS = ('page_text.js', 'page_panels.js', 'page_table.js', 'page_start.js')
_SLOT = re.compile(r'<!--\[(\w+)\]-->')


def _resource(name: str) -> str:
    """A file that is installed beside this module."""
    return files('aiida_mlfc.reports').joinpath(name).read_text(encoding='utf-8')


def _script() -> str:
    """The page's own script, in a scope of its own."""
    return '(() => {\n' + '\n'.join(_resource(name) for name in _SCRIPTS) + '})();\n'


def _embedded(identifier: str, value: Any) -> str:
    """A data block that the browser does not run.

    Every ``<`` is escaped, not only that of ``</``: after ``<!--<script`` HTML would overlook the end of the block.
    """
    text = json_text(value).replace('<', '\\u003c')
    return f'<script type="application/json" id="{identifier}">{text}</script>\n'


def _policy(scripts: Sequence[str]) -> str:
    """Content security policy: these scripts, styles of the page itself, pictures made in it, and nothing else."""
    hashes = ' '.join(
        "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'" for text in scripts
    )
    return (f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
            "base-uri 'none'; form-action 'none'")


def _crystals(
    rows: Sequence[Row], phonons: Mapping[str, Phonons], provenance: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    """The parcel of each row under its place in the table: names may repeat, places do not."""
    names = Counter(row['name'] for row in rows if row['status'] == 'ok')
    for place, row in enumerate(rows):
        found = entry_of(row, phonons, names) if row['status'] == 'ok' else None
        yield _embedded(f'crystal-{place}', crystal_parcel(found, entry_of(row, provenance, names)))


def write_page(
    path: str | os.PathLike[str],
    rows: Sequence[Row],
    phonons: Mapping[str, Phonons],
    cards: Sequence[Mapping[str, Any]] = (),
    provenance: Mapping[str, Mapping[str, Any]] | None = None,
    title: str = 'Phonon screen',
    note: str = '',
) -> Path:
    """Write the report; the old one stays until the new one is complete.

    :param rows: the table, failed crystals included.
    :param phonons: of the finished crystals, under ``force_constants_uuid``, ``structure_uuid`` or name; asked for one
        by one, so a mapping that reads them from disk keeps memory small.
    :param cards: model cards of the potentials; what they hold is shown as it stands, nested tables too.
    :param provenance: under the same keys, label -> text, for example where the structure and the force constants are.
    :param note: a line under the title, for example when and by what the page was made.
    :raises ValueError: if two finished crystals share a name and only the name tells whose phonons are whose.
    """
    from plotly.offline import get_plotlyjs

    plotly, script = get_plotlyjs(), _script()
    texts = {
        'policy': lambda: [_policy([plotly, script])],
        'style': lambda: [_resource('page.css')],
        'overview': lambda: [_embedded('overview', overview(rows, cards, title, note))],
        'crystals': lambda: _crystals(rows, phonons, provenance or {}),
        'plotly': lambda: [plotly],
        'script': lambda: [script],
    }

    def pieces() -> Iterator[str]:
        # Template text and slot names alternate, for the expression has one group.
        for k, part in enumerate(_SLOT.split(_resource('page_template.html'))):
            if k % 2:
                yield from texts[part]()
            else:
                yield part

    return write_atomically(path, pieces())


def embedded_rows(page: str) -> list[dict[str, Any]]:
    """The rows that a page holds, for whoever has the page and wants the numbers back.

    :param page: the text of the file.
    """
    found = re.search(r'<script type="application/json" id="overview">(.*?)</script>', page, re.DOTALL)
    if found is None:
        raise ValueError('page: got a text without an embedded table, wanted a report of aiida-mlfc')
    return json.loads(found[1])['rows']
