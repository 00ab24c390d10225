"""``aiida-mlfc report``: one self-contained page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click


class _LazyPhonons(Mapping):
    """Phonons by force-constants UUID, read from the database one by one."""

    def __init__(self, where: dict[str, tuple[Any, str]]) -> None:
        self._where = where

    def __getitem__(self, uuid: str) -> Any:
        outcome, key = self._where[uuid]
        return outcome.phonons(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)


@click.command('report')
@click.option(
    '-o', '--output', type=click.Path(dir_okay=False, path_type=Path), required=True, help='HTML file to write.'
)
@click.option(
    '--rows',
    'rows_file',
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='Only the crystals of this JSON file (from screen --output), its failed rows included.',
)
@click.option('--group', metavar='LABEL', help='Only the screens of this AiiDA group.')
@click.option('--title', default='Phonon screen', show_default=True)
@click.pass_context
def command(ctx: click.Context, output: Path, rows_file: Path | None, group: str | None, title: str) -> None:
    """Write a page with table, bands, DOS and thermal properties of what was screened; no network needed to read it."""
    import json

    from aiida_mlfc.cli.profile import load_or_create_profile
    from aiida_mlfc.data.outcomes import ScreenOutcome, rows_of
    from aiida_mlfc.data.screens import EXTRA_SETTINGS, all_screens
    from aiida_mlfc.reports.page import write_page

    load_or_create_profile(ctx.obj['profile'])
    rows, where, ways, cards, seen = [], {}, {}, {}, set()
    for row, outcome, key in rows_of(ScreenOutcome.of(all_screens(group))):
        uuid = row['force_constants_uuid']
        mark = (row['structure_uuid'], row['potential_sha256'], outcome.process.base.extras.get(EXTRA_SETTINGS, None))
        # An earlier screen's failure is no news where a later one succeeded.
        if mark in seen:
            continue
        seen.add(mark)
        rows.append(row)
        cards[outcome.potential.sha256] = {**outcome.potential.card, 'sha256': outcome.potential.sha256}
        ways[uuid or row['structure_uuid']] = outcome.provenance(key)
        if uuid is not None:
            where[uuid] = (outcome, key)
    if rows_file is not None:
        rows = json.loads(rows_file.read_text())
    if not rows:
        raise click.ClickException(
            'nothing has been screened in this profile yet; `aiida-mlfc screen PATHS...` does it'
        )
    write_page(output, rows, _LazyPhonons(where), list(cards.values()), ways, title=title)
    click.echo(f'{output} ({len(rows)} crystals)', err=True)
