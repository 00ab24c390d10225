"""Comparisons in the terminal: one line a pair, refusals under the table, and the benchmark's table of potentials."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from aiida_mlfc.core.comparison.aggregate import Aggregate, Estimate
from aiida_mlfc.core.comparison.record import STABILITY_THRESHOLD
from aiida_mlfc.reports.table import PIPED_WIDTH, printable

if TYPE_CHECKING:
    from rich.console import Console

#: key, heading, how it is written
_COLUMNS = (
    ('relative_frobenius', 'ΔΦ/Φ', '.4f'),
    ('frequency_mae', 'MAE\nTHz', '.4f'),
    ('frequency_max_error', 'max\nTHz', '.3f'),
    ('max_frequency_error', 'Δω_max\nK', '+.2f'),
    ('free_energy_error', 'ΔF\nkJ/mol', '+.3f'),
    ('entropy_error', 'ΔS\nJ/K/mol', '+.3f'),
    ('heat_capacity_error', 'ΔC_V\nJ/K/mol', '+.3f'),
)
_SCORES = (
    ('max_frequency_K', 'ω_max\nK', '.1f'),
    ('entropy_J_per_K_mol', 'S\nJ/K/mol', '.2f'),
    ('free_energy_kJ_per_mol', 'F\nkJ/mol', '.2f'),
    ('heat_capacity_J_per_K_mol', 'C_V\nJ/K/mol', '.2f'),
    ('frequency_mae_THz', 'ω\nTHz', '.3f'),
    ('relative_frobenius', 'ΔΦ/Φ\n', '.3f'),
)
#: the threshold of the scoreboard's confusion; pages and JSON have all
SCOREBOARD_THRESHOLD = 'strict_0.05THz'


def _console(stream: TextIO | None, width: int | None) -> Console:
    from rich.console import Console

    out = sys.stdout if stream is None else stream
    if width is None and not out.isatty():
        width = PIPED_WIDTH
    return Console(file=out, width=width, highlight=False, emoji=False, markup=False)


def print_comparisons(
    rows: Sequence[Mapping[str, Any]], stream: TextIO | None = None, width: int | None = None
) -> None:
    """The table, worst first, and under it what was refused and why.

    :param rows: as ``Comparison.row`` makes them, with ``a`` and ``b``.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console = _console(stream, width)
    good = sorted((row for row in rows if row['status'] == 'ok'), key=lambda row: -row['frequency_mae'])
    others = len({row['b'] for row in rows}) > 1
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style='bold')
    table.add_column('crystal', overflow='fold', min_width=8)
    if others:
        table.add_column('against', overflow='fold')
    for _, heading, _pattern in _COLUMNS:
        table.add_column(heading, justify='right', no_wrap=True)
    table.add_column('stable', no_wrap=True)
    table.add_column('NAC', no_wrap=True)
    for row in good:
        verdicts = ['yes' if row[key] else 'no' for key in ('stable_a', 'stable_b')]
        table.add_row(
            Text(printable(row['name'])),
            *([Text(printable(row['b']))] if others else []),
            *('' if row[key] is None else format(row[key], pattern) for key, _, pattern in _COLUMNS),
            Text('/'.join(verdicts), style='' if verdicts[0] == verdicts[1] else 'yellow'),
            Text(row['nac']),
        )
    if good:
        console.print(table)
    for row in rows:
        if row['status'] != 'ok':
            message = Text(f'✗ {printable(row["name"])}: ', style='bold red')
            message.append(printable(row['error']), style='not bold red')
            console.print(message)
    if good:
        console.print(
            Text(
                'Errors are the second minus the first; thermal ones at 300 K per mole of primitive cells. Stable: '
                f'first/second, no mode below {STABILITY_THRESHOLD} THz.',
                style='dim',
            )
        )


def print_scoreboard(scores: Sequence[Aggregate], stream: TextIO | None = None, width: int | None = None) -> None:
    """Mean absolute errors of each potential over the materials it was compared on, with their 95 % intervals."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console = _console(stream, width)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style='bold')
    table.add_column('potential', overflow='fold', min_width=8)
    for _, heading, _pattern in _SCORES:
        table.add_column(heading, justify='right')
    table.add_column('stable\nkept', justify='right', no_wrap=True)
    table.add_column('unstable\nkept', justify='right', no_wrap=True)
    table.add_column('refs (mat.)\nfailed', justify='right', no_wrap=True)
    table.add_column('time\ns', justify='right', no_wrap=True)
    for score in scores:
        confusion = score.confusion[SCOREBOARD_THRESHOLD]
        table.add_row(
            Text(printable(score.name)),
            *(_estimate(score.errors.get(key), pattern) for key, _, pattern in _SCORES),
            _share(confusion.stable_kept),
            _share(confusion.unstable_kept),
            f'{score.n_references} ({score.n_materials})\n{score.n_failed}',
            '' if score.seconds is None else f'{score.seconds:.1f}',
        )
    console.print(table)
    console.print(
        Text(
            'Mean absolute errors over the materials that a potential knows (common: that all of them know) with 95 % '
            'bootstrap intervals; references of one material share its '
            'weight, duplicates are left out. Definitions of the first four as in npj Comput. Mater. 11, 178 (2025), '
            'which has potentials at their own geometry (--geometry own).',
            style='dim',
        )
    )


def _estimate(found: Estimate | None, pattern: str) -> str:
    if found is None:
        return ''
    if found.low is None or found.high is None:
        return format(found.mean, pattern)
    return f'{found.mean:{pattern}}\n{found.low:{pattern}}–{found.high:{pattern}}'


def _share(value: float | None) -> str:
    return '' if value is None else f'{100 * value:.0f} %'
