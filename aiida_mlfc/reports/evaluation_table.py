"""A potential against references in the terminal: one line each, worst first, and under it what could not be done."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from aiida_mlfc.reports.table import printable

#: characters; all columns beside a name of ordinary length
PIPED_WIDTH = 180
#: behind the name, by what was measured on
_PARTS = {'held-back': 'held back', 'learned': 'learned'}
#: beside it, where force constants are compared with others than those of that part; a line under the table says more
_OF_ALL = 'Φ of all'
#: key, heading, factor, how it is written
_COLUMNS = (
    ('n_configurations', 'conf.\n', 1.0, '.0f'),
    ('relative_frobenius', 'ΔΦ/Φ\n%', 100.0, '.2f'),
    ('pair_springs', 'of pairs\n%', 100.0, '.1f'),
    ('frequency_mae', 'MAE\nTHz', 1.0, '.3f'),
    ('frequency_pair_springs', 'of pairs\nTHz', 1.0, '.3f'),
    ('frequency_predict_zero', 'of zero\nTHz', 1.0, '.2f'),
    ('frequency_max_error', 'max\nTHz', 1.0, '.3f'),
    ('force_rmse', 'force\nmeV/Å', 1.0, '.2f'),
    ('force_predict_zero', 'of zero\nmeV/Å', 1.0, '.1f'),
    ('min_frequency', 'lowest\nTHz', 1.0, '.2f'),
    ('min_frequency_reference', 'of DFT\nTHz', 1.0, '.2f'),
    ('free_energy_error', 'ΔF\nkJ/mol', 1.0, '+.3f'),
    ('entropy_error', 'ΔS\nJ/K/mol', 1.0, '+.3f'),
    ('max_stress', 'stress\nGPa', 1.0, '.2f'),
    ('max_force_at_rest', 'at rest\nmeV/Å', 1.0, '.2f'),
    ('lowest_elastic_constant', 'elastic\nGPa', 1.0, '.0f'),
)


def print_evaluations(rows: Sequence[Mapping[str, Any]], stream: TextIO | None = None) -> None:
    """The table; columns that no row has are left out.

    :param rows: with ``name``, ``status``, ``error``, and the keys of the columns; perhaps with ``part`` and
        ``reference_force_constants``.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    out = sys.stdout if stream is None else stream
    width = None if out.isatty() else PIPED_WIDTH
    console = Console(file=out, width=width, highlight=False, emoji=False, markup=False)
    good = sorted((row for row in rows if row['status'] == 'ok'), key=lambda row: -row['frequency_mae'])
    columns = [column for column in _COLUMNS if any(row.get(column[0]) is not None for row in good)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style='bold')
    table.add_column('reference', overflow='fold', min_width=8)
    for _, heading, _factor, _pattern in columns:
        table.add_column(heading, justify='right', no_wrap=True)
    verdicts = any(row.get('stability') for row in good)
    if verdicts:
        table.add_column('stability', no_wrap=True)
    for row in good:
        cells = [
            '-' if row.get(key) is None else format(factor * row[key], pattern) for key, _, factor, pattern in columns
        ]
        said = [_PARTS.get(str(row.get('part'))), _OF_ALL if row.get('reference_force_constants') else None]
        name = printable(row['name']) + (f' ({", ".join(filter(None, said))})' if any(said) else '')
        table.add_row(Text(name), *cells, *([row.get('stability') or '-'] if verdicts else []))
    if good:
        console.print(table)
    for more in sorted({str(row['reference_force_constants']) for row in good if row.get('reference_force_constants')}):
        console.print(Text(f'{_OF_ALL}: force constants and frequencies are compared with those {more}'))
    for row in rows:
        if row['status'] != 'ok':
            console.print(Text(f'{printable(row["name"])}: {printable(str(row["error"]))}'))
