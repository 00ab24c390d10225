"""``aiida-mlfc report``: one self-contained page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

#: a screen and the key of a crystal in it
Place = tuple[Any, str]


class _Lazy(Mapping):
    """Something of each crystal by UUID, read from the database when it is asked for.

    :param read: it, from an outcome and a key.
    """

    def __init__(self, where: dict[str, Place], read: Callable[[Any, str], Any]) -> None:
        self._where, self._read = where, read

    def __getitem__(self, uuid: str) -> Any:
        return self._read(*self._where[uuid])

    def __contains__(self, uuid: object) -> bool:
        # a Mapping's own would read it to know
        return uuid in self._where

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)


@dataclass
class Screened:
    """What the screens of a profile have.

    :param rows: the newest of each crystal, potential and settings.
    :param phonons: where those of each crystal are, by UUID of the force constants, of the older ones too.
    :param crystals: where each crystal is, by the same UUID, or its structure's if it failed.
    :param cards: of the potentials, by sha256.
    """

    rows: list[Any] = field(default_factory=list)
    phonons: dict[str, Place] = field(default_factory=dict)
    crystals: dict[str, Place] = field(default_factory=dict)
    cards: dict[str, dict[str, Any]] = field(default_factory=dict)


def look_at(screens: Sequence[Any]) -> Screened:
    """Everything that a page may show.

    :param screens: newest first.
    """
    from aiida_mlfc.data.outcomes import ScreenOutcome, rows_of

    found, seen = Screened(), set()
    settings = _settings([screen.pk for screen in screens])
    for row, outcome, key in rows_of(ScreenOutcome.of(screens)):
        uuid, sha256, place = row['force_constants_uuid'], row['potential_sha256'], (outcome, key)
        found.crystals.setdefault(uuid or row['structure_uuid'], place)
        if uuid is not None:
            found.phonons[uuid] = place
        if sha256 not in found.cards:
            found.cards[sha256] = {**outcome.potential.card, 'sha256': sha256}
        # An earlier screen's failure is no news where a later one succeeded. Screens that nobody gave a hash of their
        # settings may differ in anything.
        mark = (row['structure_uuid'], sha256, settings[outcome.process.pk] or outcome.process.pk)
        if mark not in seen:
            seen.add(mark)
            found.rows.append(row)
    return found


def _settings(pks: Sequence[int]) -> dict[int, str | None]:
    """The hash of the settings of each screen that has one; nothing else of its extras, which are large."""
    from aiida.orm import QueryBuilder, WorkChainNode

    from aiida_mlfc.data.facts import chunks
    from aiida_mlfc.data.screens import EXTRA_SETTINGS

    found: dict[int, str | None] = {}
    for some in chunks(pks):
        query = QueryBuilder()
        query.append(WorkChainNode, filters={'id': {'in': some}}, project=['id', f'extras.{EXTRA_SETTINGS}'])
        found.update(query.all())
    return found


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
    from aiida_mlfc.data.screens import all_screens
    from aiida_mlfc.reports.page import write_page

    load_or_create_profile(ctx.obj['profile'])
    found = look_at(all_screens(group))
    rows = found.rows if rows_file is None else json.loads(rows_file.read_text())
    if not rows:
        raise click.ClickException(
            'nothing has been screened in this profile yet; `aiida-mlfc screen PATHS...` does it'
        )
    shown = {row['potential_sha256'] for row in rows}
    write_page(
        output,
        rows,
        _Lazy(found.phonons, lambda outcome, key: outcome.phonons(key)),
        [card for sha256, card in found.cards.items() if sha256 in shown],
        _Lazy(found.crystals, lambda outcome, key: outcome.provenance(key)),
        title=title,
    )
    click.echo(f'{output} ({len(rows)} crystals)', err=True)
