"""The terminal table: readable, narrow enough, and deaf to what names say."""

from __future__ import annotations

import io

import pytest

from aiida_mlfc.reports.rows import failed_row
from aiida_mlfc.reports.table import (
    LEGEND,
    LONGEST_DRAWN,
    PIPED_WIDTH,
    plain_lines,
    print_table,
    printable,
    summarise_verdicts,
)


def printed(rows, width=None) -> str:
    stream = io.StringIO()
    print_table(rows, stream, width)
    return stream.getvalue()


def test_everything_is_there(screen):
    text = printed(screen[0])
    assert max(map(len, text.splitlines())) <= PIPED_WIDTH
    for wanted in ('AuCu3', '3×3×3', 'stable', 'unstable', '-1.1', '3e-06', 'kJ/mol', 'THz', 'element U is not known'):
        assert wanted in text
    assert 'imaginary modes are left out' in text


def test_numbers_are_never_cut(screen):
    text = printed(screen[0])
    assert '…' not in text
    for row in screen[0]:
        if row['status'] == 'ok':
            assert f'{row["min_frequency"]:.3f}' in text
            assert f'{row["free_energy_300K"]:.2f}' in text


def test_hostile_names_are_text(screen):
    text = printed(screen[0], width=300)
    assert '<img src=x onerror=alert(1)>' in text
    assert '[bold]not markup[/bold]' in text
    assert '\x1b' not in text


@pytest.mark.parametrize('name', ['[red]a', '[/]', '[link=file:///etc/passwd]x[/link]', ':smile:', '\\[a]'])
def test_markup_is_not_read(name):
    assert printed([failed_row(name, 'broken')], width=200).count(name) == 2


def test_printable():
    assert printable('a\x1b]0;title\x07b\r\nc\td\u202ee') == 'a]0;titleb c de'
    assert printable('Γ–α 水') == 'Γ–α 水'


def test_verdicts_in_short():
    assert summarise_verdicts({}) == ''
    assert summarise_verdicts({'zero': 'stable', 'mp_5cm-1': 'stable'}) == 'stable'
    mixed = {'zero': 'unstable', 'strict_0.05THz': 'unstable', 'mp_5cm-1': 'stable'}
    assert summarise_verdicts(mixed) == 'unstable at 0, -0.05 THz'


def test_uncertainty_has_a_column_where_it_is_known(screen):
    assert 'unsure' not in printed(screen[0])
    rows = [dict(row) for row in screen[0]]
    good = next(row for row in rows if row['status'] == 'ok')
    good['uncertainty'] = 0.4321
    text = printed(rows, width=200)
    assert 'unsure' in text
    assert '0.43' in text


def test_a_long_table_is_plain_and_hides_nothing(screen):
    """Every cell and every note of the drawn table, one line a crystal, columns aligned."""
    rows = [dict(row, name=f'{row["name"]} {k}') for k in range(LONGEST_DRAWN) for row in screen[0]]
    lines = printed(rows).splitlines()
    assert lines == list(plain_lines(rows))
    end_of_lowest = lines[1].index('THz') + 3
    body = lines[3 : 3 + len(rows)]
    for row, line in zip(rows, body, strict=True):
        assert line.startswith(printable(row['name']))
        if row['status'] == 'ok':
            assert line[:end_of_lowest].endswith(f' {row["min_frequency"]:.3f}')
    n_notes = sum(row['status'] == 'failed' for row in rows) + sum(len(row['warnings']) for row in rows)
    assert len(lines) == 3 + len(rows) + n_notes + 1
    assert lines[-1] == LEGEND
    drawn = ' '.join(printed(screen[0], width=300).split())
    for line in plain_lines(screen[0]):
        for word in line.split():
            assert set(word) == {'-'} or word in drawn
