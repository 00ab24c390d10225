"""The screen table in the terminal. Names and errors come from files: they are text, never markup or control codes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

from aiida_mlfc.core.printable import printable
from aiida_mlfc.reports.rows import Row, describe_supercell

if TYPE_CHECKING:
    from rich.table import Table

#: width where the output is no terminal (a pipe or a file)
PIPED_WIDTH = 120
#: rows that are drawn in colour and folded to the terminal; it takes 2 to 4 ms a row
LONGEST_DRAWN = 50
#: short names of the verdicts' thresholds, THz
SHORT_VERDICTS = {'zero': '0', 'strict_0.05THz': '-0.05', 'mp_5cm-1': '-0.15', 'mattersim_0.3THz': '-0.3'}

_VERDICT_STYLES = {'stable': 'green', 'unstable': 'red'}


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


#: heading of each column, unit below it, and whether it holds numbers
COLUMNS = (
    ('crystal', '', False), ('formula', '', False), ('space group', '', False), ('atoms', '', True),
    ('supercell', '', False), ('lowest', 'THz', True), ('highest', 'THz', True), ('verdict', '', False),
    ('F(300 K)', 'kJ/mol', True), ('force', 'eV/Å', True), ('cut off', 'THz', True), ('unsure', 'THz', True),
    ('time', 's', True),
)  # fmt: skip
#: the narrowest that columns of text may become
_MIN_WIDTHS = {'crystal': 8, 'space group': 5, 'supercell': 5, 'verdict': 8}
LEGEND = (
    'Imaginary frequencies are negative. Energies are per mole of primitive cells. Force: the largest left on an atom '
    'before it is displaced. Cut off: the largest error of a frequency between the q-points of the supercell.'
)


def columns_of(rows: Sequence[Row]) -> list[int]:
    """Which of ``COLUMNS`` a table has: uncertainty only where it is known."""
    uncertain = any(row.get('uncertainty') is not None for row in rows)
    return [k for k, (name, _, _) in enumerate(COLUMNS) if uncertain or name != 'unsure']


def cells_of(row: Row) -> list[str]:
    """The text in each of ``COLUMNS``."""
    failed = row['status'] == 'failed'
    return [
        printable(row['name']),
        printable(row['formula'] or ''),
        # the symbol alone: its number stands in JSON and on the page, the room goes to the name
        printable((row['spacegroup'] or '').split(' ')[0]),
        _number(row['n_atoms'], 'd'),
        describe_supercell(row['supercell_matrix']),
        _number(row['min_frequency'], '.3f'),
        _number(row['max_frequency'], '.3f'),
        'failed' if failed else printable(summarise_verdicts(row['verdicts'])),
        _number(row['free_energy_300K'], '.2f'),
        _number(row['max_residual_force'], '.0e'),
        _number(row['truncation_error'], '.2f'),
        _number(row.get('uncertainty'), '.2f'),
        _number(row['seconds'], '.1f'),
    ]


def notes_of(rows: Sequence[Row]) -> Iterator[tuple[bool, str, str]]:
    """Whether it is an error, the name, and the text: errors of failed crystals first, then warnings of the others.

    They stand under the table and not in it: they are sentences, and a sentence in a narrow column cannot be read.
    """
    for row in rows:
        if row['status'] == 'failed':
            yield True, printable(row['name']), printable(row['error'] or 'no reason was given')
    for row in rows:
        for warning in row['warnings']:
            yield False, printable(row['name']), printable(warning)


def screen_table(rows: Sequence[Row]) -> Table:
    """A rich table; a failed crystal shows its error in red, and nothing is hidden.

    ``Text`` objects instead of strings: rich reads no markup in them.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style='bold')
    chosen = columns_of(rows)
    for name, unit, is_number in (COLUMNS[k] for k in chosen):
        heading = f'{name}\n{unit}' if unit else name
        if unit:
            table.add_column(heading, justify='right', no_wrap=True)
        elif is_number:
            table.add_column(heading, justify='right')
        else:
            table.add_column(heading, overflow='fold', min_width=_MIN_WIDTHS.get(name))
    for row in rows:
        styles = {7: _VERDICT_STYLES.get(summarise_verdicts(row['verdicts']), 'yellow')}
        if row['status'] == 'failed':
            styles = {0: 'red', 7: 'bold red'}
        cells = cells_of(row)
        table.add_row(*(Text(cells[k], style=styles.get(k, '')) for k in chosen))
    return table


def print_table(rows: Sequence[Row], stream: TextIO | None = None, width: int | None = None) -> None:
    """Print the table, the errors of failed crystals under it, and the warnings of the others.

    Long ones are plain lines, as wide as they need to be: nobody folds and colours thousands of rows in a moment.

    :param stream: standard output where it is not given.
    :param width: columns; the terminal's own, and ``PIPED_WIDTH`` where there is no terminal.
    """
    out = sys.stdout if stream is None else stream
    if len(rows) > LONGEST_DRAWN:
        out.writelines(f'{line}\n' for line in plain_lines(rows))
        return
    from rich.console import Console
    from rich.text import Text

    if width is None and not out.isatty():
        width = PIPED_WIDTH
    console = Console(file=out, width=width, highlight=False, emoji=False, markup=False)
    console.print(screen_table(rows))
    for is_error, name, text in notes_of(rows):
        if is_error:
            console.print(Text(f'✗ {name}: ', style='bold red').append(text, style='not bold red'))
        else:
            console.print(Text(f'! {name}: {text}', style='yellow'))
    console.print(Text(LEGEND, style='dim'))


def plain_lines(rows: Sequence[Row]) -> Iterator[str]:
    """The same table and notes, one line a crystal, columns as wide as their longest entry."""
    chosen = columns_of(rows)
    titles = [[COLUMNS[k][0] for k in chosen], [COLUMNS[k][1] for k in chosen]]
    body = [[cells[k] for k in chosen] for cells in map(cells_of, rows)]
    widths = [max(map(len, column)) for column in zip(*titles, *body, strict=True)]
    line = '  '.join(f'{{:{">" if COLUMNS[k][2] else "<"}{n}}}' for k, n in zip(chosen, widths, strict=True)).format
    for cells in titles:
        yield line(*cells).rstrip()
    yield '  '.join('-' * n for n in widths)
    for cells in body:
        yield line(*cells).rstrip()
    for is_error, name, text in notes_of(rows):
        yield f'{"✗" if is_error else "!"} {name}: {text}'
    yield LEGEND
