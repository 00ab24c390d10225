"""One self-contained page of comparisons: scoreboard, table with the worst first, figures of each pair."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aiida_mlfc.core.comparison.aggregate import Aggregate
from aiida_mlfc.core.comparison.compare import THRESHOLDS
from aiida_mlfc.core.comparison.record import STABILITY_THRESHOLD, Comparison
from aiida_mlfc.reports.page import _SLOT, _embedded, _policy, _resource
from aiida_mlfc.reports.plain_json import plain, write_atomically

_SCRIPTS = ('page_text.js', 'comparison_page.js')


def write_comparison_page(
    path: str | os.PathLike[str],
    rows: Sequence[Mapping[str, Any]],
    summaries: Sequence[Comparison | None],
    parcels: Sequence[Mapping[str, Any] | None],
    scores: Sequence[Aggregate] = (),
    title: str = 'Force constants compared',
    note: str = '',
) -> Path:
    """Write the page; the old one stays until the new one is complete.

    :param rows: as ``Comparison.row`` makes them, with ``a`` and ``b``; refused pairs included.
    :param summaries: of the same pairs; None for refused ones.
    :param parcels: of the same pairs, see :func:`aiida_mlfc.reports.comparison_figures.comparison_parcel`.
    :param scores: one line of the scoreboard each.
    """
    from plotly.offline import get_plotlyjs

    order = sorted(range(len(rows)), key=lambda k: -rows[k]['frequency_mae'] if rows[k]['status'] == 'ok' else 1.0)
    overview = {
        'title': title,
        'note': note,
        'rows': [_row(rows[k], summaries[k]) for k in order],
        'scores': [score.to_dict() for score in scores],
        'thresholds': THRESHOLDS,
        'stability_threshold': STABILITY_THRESHOLD,
    }
    plotly, script = get_plotlyjs(), '(() => {\n' + '\n'.join(_resource(name) for name in _SCRIPTS) + '})();\n'
    parts = {
        'policy': lambda: [_policy([plotly, script])],
        'style': lambda: [_resource('page.css')],
        'overview': lambda: [_embedded('overview', plain(overview))],
        'crystals': lambda: (_embedded(f'crystal-{place}', parcels[k]) for place, k in enumerate(order) if parcels[k]),
        'plotly': lambda: [plotly],
        'script': lambda: [script],
    }

    def pieces() -> Iterator[str]:
        # Template text and slot names alternate, for the expression has one group.
        for k, part in enumerate(_SLOT.split(_resource('comparison_template.html'))):
            if k % 2:
                yield from parts[part]()
            else:
                yield part

    return write_atomically(path, pieces())


def _row(row: Mapping[str, Any], summary: Comparison | None) -> dict[str, Any]:
    known = {} if summary is None else {'formula': summary.formula, 'spacegroup': summary.spacegroup}
    return {'formula': None, 'spacegroup': None, **row, **known}
