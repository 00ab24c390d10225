"""One self-contained page of the benchmark: targets, figures, every row; readable without a network."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from figures import curve_figures, force_constant_ratios, target_ratios

from aiida_mlfc.reports.page import _SLOT, _embedded, _policy
from aiida_mlfc.reports.plain_json import write_atomically

HERE = Path(__file__).parent
#: class and text
Cell = tuple[str, str]


def number(value: float) -> str:
    """Three figures."""
    return f'{value:.0f}' if abs(value) >= 1000 else f'{value:.3g}'


def ratio_cell(row: dict[str, Any]) -> Cell:
    """The ratio, coloured where there is a target."""
    if row['target'] is None:
        return 'number', number(row['ratio'])
    met = row['ratio'] <= row['target']
    return 'number ' + ('met' if met else 'missed'), number(row['ratio'])


def table(heads: Sequence[str], body: Iterable[str]) -> str:
    """A table that scrolls sideways by itself where the window is narrow."""
    head = ''.join(f'<th>{html.escape(text)}</th>' for text in heads)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def line(cells: Iterable[Cell]) -> str:
    """A line of a table: class and text of each cell."""
    return '<tr>' + ''.join(f'<td class="{name}">{html.escape(text)}</td>' for name, text in cells) + '</tr>'


def targets(rows: Sequence[dict[str, Any]]) -> str:
    """Rows with a target, numbered."""
    chosen = [row for row in rows if row['target'] is not None]
    if not chosen:
        return '<p class="quiet">No row with a target was measured.</p>'
    return table(
        ('', 'Case', 'Quantity', 'Ratio', 'Wanted', '', 'Beside'),
        (
            line((
                ('number', str(k + 1)), ('', row['case']), ('quantity', row['quantity']), ratio_cell(row),
                ('number', '≤ ' + number(row['target'])),
                ('met', 'met') if row['ratio'] <= row['target'] else ('missed', 'missed'), ('peer', row['peer']),
            ))
            for k, row in enumerate(chosen)
        ),
    )  # fmt: skip


def all_rows(rows: Sequence[dict[str, Any]]) -> str:
    """Everything, under its case."""
    body, case = [], None
    for row in rows:
        if row['case'] != case:
            case = row['case']
            body.append(f'<tr class="case"><td colspan="6">{html.escape(case)}</td></tr>')
        body.append(line((
            ('quantity', row['quantity']), ('number', number(row['ours'])), ('number', number(row['peer_value'])),
            ratio_cell(row), ('peer', row['peer']), ('accuracy', row['accuracy']),
        )))  # fmt: skip
    return table(('Quantity', 'Ours', 'Peer', 'Ratio', 'Who the peer is', 'Accuracy'), body)


def write_page(
    path: Path,
    rows: Sequence[dict[str, Any]],
    curves: Sequence[dict[str, Any]],
    skipped: Sequence[str],
    notes: Sequence[str],
) -> Path:
    """Write the page; the old one stays until the new one is complete.

    :param rows: plain rows, each with ``target``.
    :param curves: plain :class:`row.Curve`.
    :param skipped: what was left out and why.
    :param notes: lines under the title.
    """
    from plotly.offline import get_plotlyjs

    plotly, script = get_plotlyjs(), (HERE / 'page.js').read_text(encoding='utf-8')
    figures = [f for f in (force_constant_ratios(rows), target_ratios(rows)) if f] + curve_figures(curves)
    left_out = ''.join(f'<li>{html.escape(text)}</li>' for text in skipped)
    texts = {
        'policy': _policy([plotly, script]),
        'head': ''.join(f'<p class="quiet">{html.escape(text)}</p>' for text in notes),
        'targets': targets(rows),
        'rows': all_rows(rows),
        'skipped': f'<h2>Left out</h2><ul>{left_out}</ul>' if left_out else '',
        'data': _embedded('figures-data', figures),
        'plotly': plotly,
        'script': script,
    }
    parts = _SLOT.split((HERE / 'page_template.html').read_text(encoding='utf-8'))
    return write_atomically(path, (texts[part] if k % 2 else part for k, part in enumerate(parts)))
