"""The rows of a case as a table in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from page import number
from rich.console import Console
from rich.markup import escape
from rich.table import Table

#: where the output is no terminal
PIPED_WIDTH = 160


def print_rows(rows: Sequence[dict[str, Any]], skipped: Sequence[str]) -> None:
    """Print a table; what was left out below it."""
    console = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False)
    if rows:
        table = Table(show_edge=False, pad_edge=False, header_style='bold')
        for head, style in (('quantity', ''), ('ours', ''), ('peer', ''), ('ratio', ''), ('wanted', 'dim'),
                            ('who', 'dim'), ('accuracy', 'dim')):  # fmt: skip
            right = head in ('ours', 'peer', 'ratio', 'wanted')
            table.add_column(head, style=style, justify='right' if right else 'left', no_wrap=right,
                             overflow='fold')  # fmt: skip
        for row in rows:
            ratio, wanted = number(row['ratio']), ''
            if row['target'] is not None:
                colour = 'green' if row['ratio'] <= row['target'] else 'bold red'
                ratio, wanted = f'[{colour}]{ratio}[/]', '≤ ' + number(row['target'])
            case = '' if row['quantity'].startswith(row['case']) else f'{row["case"]}: '
            table.add_row(
                escape(case + row['quantity']), number(row['ours']), number(row['peer_value']), ratio, wanted,
                escape(row['peer']), escape(row['accuracy']),
            )  # fmt: skip
        console.print(table)
    for text in skipped:
        console.print(f'[yellow]left out[/]: {escape(text)}')
