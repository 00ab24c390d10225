"""The screen table in the terminal. Names and errors come from files: they are text, never markup or control codes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from aiida_mlfc.core.printable import printable
from aiida_mlfc.reports.rows import Row, describe_supercell

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

#: width where the output is no terminal (a pipe or a file)
PIPED_WIDTH = 120
#: short names of the verdicts' thresholds, THz
SHORT_VERDICTS = {'zero': '0', 'strict_0.05THz': '-0.05', 'mp_5cm-1': '-0.15', 'mattersim_0.3THz': '-0.3'}


def summarise_verdicts(verdicts: dict[str, str]) -> str:
    """``stable``, ``unstable``, or ``unstable at`` the thresholds that the crystal does not pass."""
    if not verdicts:
        return ''
    kinds = set(verdicts.values())
    if len(kinds) == 1:
        return kinds.pop()
    failed = [SHORT_VERDICTS.get(name, name) for name, verdict in verdicts.items() if verdict == 'unstable']
    return 'unstable at ' + ', '.join(failed) + ' THz'


def _number(value: float | None, pattern: str) -> str:
    """A formatted number, or nothing."""
    return '' if value is None else format(value, pattern)


def _verdict(row: Row) -> Text:
    """The coloured verdict."""
    from rich.text import Text

    summary = printable(summarise_verdicts(row['verdicts']))
    style = {'stable': 'green', 'unstable': 'red'}.get(summary, 'yellow')
    return Text(summary, style=style)


def screen_table(rows: Sequence[Row]) -> Table:
    """A rich table; a failed crystal shows its error in red, and nothing is hidden.

    ``Text`` objects instead of strings: rich reads no markup in them.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style='bold')
    table.add_column('crystal', overflow='fold', min_width=8)
    table.add_column('formula', overflow='fold')
    table.add_column('space group', overflow='fold', min_width=5)
    table.add_column('atoms', justify='right')
    table.add_column('supercell', overflow='fold', min_width=5)
    table.add_column('lowest\nTHz', justify='right', no_wrap=True)
    table.add_column('highest\nTHz', justify='right', no_wrap=True)
    table.add_column('verdict', overflow='fold', min_width=8)
    table.add_column('F(300 K)\nkJ/mol', justify='right', no_wrap=True)
    table.add_column('force\neV/Å', justify='right', no_wrap=True)
    table.add_column('cut off\nTHz', justify='right', no_wrap=True)
    uncertain = any(row.get('uncertainty') is not None for row in rows)
    if uncertain:
        table.add_column('unsure\nTHz', justify='right', no_wrap=True)
    table.add_column('time\ns', justify='right', no_wrap=True)
    for row in rows:
        failed = row['status'] == 'failed'
        table.add_row(
            Text(printable(row['name']), style='red' if failed else ''),
            Text(printable(row['formula'] or '')),
            # the symbol alone: its number stands in JSON and on the page, the room goes to the name
            Text(printable((row['spacegroup'] or '').split(' ')[0])),
            _number(row['n_atoms'], 'd'),
            Text(describe_supercell(row['supercell_matrix'])),
            _number(row['min_frequency'], '.3f'),
            _number(row['max_frequency'], '.3f'),
            Text('failed', style='bold red') if failed else _verdict(row),
            _number(row['free_energy_300K'], '.2f'),
            _number(row['max_residual_force'], '.0e'),
            _number(row['truncation_error'], '.2f'),
            *([_number(row.get('uncertainty'), '.2f')] if uncertain else []),
            _number(row['seconds'], '.1f'),
        )
    return table


def print_table(rows: Sequence[Row], stream: TextIO | None = None, width: int | None = None) -> None:
    """Print the table, the errors of failed crystals under it, and the warnings of the others.

    Errors stand under the table and not in it: they are sentences, and a sentence in a narrow column cannot be read.

    :param stream: standard output where it is not given.
    :param width: columns; the terminal's own, and ``PIPED_WIDTH`` where there is no terminal.
    """
    from rich.console import Console
    from rich.text import Text

    out = sys.stdout if stream is None else stream
    if width is None and not out.isatty():
        width = PIPED_WIDTH
    console = Console(file=out, width=width, highlight=False, emoji=False, markup=False)
    console.print(screen_table(rows))
    for row in rows:
        if row['status'] == 'failed':
            message = Text(f'✗ {printable(row["name"])}: ', style='bold red')
            message.append(printable(row['error'] or 'no reason was given'), style='not bold red')
            console.print(message)
    for row in rows:
        for warning in row['warnings']:
            console.print(Text(f'! {printable(row["name"])}: {printable(warning)}', style='yellow'))
    console.print(Text(
        'Imaginary frequencies are negative. Energies are per mole of primitive cells. '
        'Force: the largest left on an atom before it is displaced. Cut off: the largest error of a frequency between '
        'the q-points of the supercell.', style='dim'))
