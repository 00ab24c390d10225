"""``aiida-mlfc query``: the questions people ask of a database of phonons."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from typing import Any

import click

from aiida_mlfc.core.printable import printable

#: crystals that a message names
NAMED = 5
#: rows of a table in the terminal unless more are asked for: drawing a row takes longer than finding it
ROWS_SHOWN = 200


def _rows(ctx: click.Context, group: str | None = None) -> list[Any]:
    """All rows of the profile or of a group, newest screens first, with their screens (PK) and keys."""
    # Thousands of classes and rows are made here and stay: looking for cycles among them takes a tenth of the time.
    gc.disable()
    try:
        from aiida_mlfc.cli.profile import load_or_create_profile

        load_or_create_profile(ctx.obj['profile'])
        from aiida_mlfc.data.tables import rows_of_all

        return list(rows_of_all(group))
    finally:
        gc.freeze()
        gc.enable()


def _outcome(pk: int) -> Any:
    """Of a screen."""
    from aiida.orm import load_node

    from aiida_mlfc.data.outcomes import ScreenOutcome

    return ScreenOutcome(load_node(pk))


def _show(rows: list[Any], as_json: bool, limit: int) -> None:
    from aiida_mlfc.reports.rows import rows_to_json
    from aiida_mlfc.reports.table import print_table

    if as_json:
        click.echo(rows_to_json(rows), nl=False)
    elif rows:
        print_table(rows[:limit])
        if len(rows) > limit:
            click.echo(f'{len(rows)} crystals, the first {limit} are shown: --limit {len(rows)} shows all', err=True)
    else:
        click.echo('None.', err=True)


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Options of every question that is answered with a table."""
    for option in (
        click.option('--limit', type=click.IntRange(min=1), default=ROWS_SHOWN, show_default=True, help='Rows shown.'),
        click.option('--json', 'as_json', is_flag=True, help='All rows, as JSON.'),
        click.option('--group', metavar='LABEL', help='Only the screens of this AiiDA group.'),
    ):
        function = option(function)
    return function


def unstable_rows(rows: list[Any], threshold: float) -> tuple[list[Any], list[Any]]:
    """Rows with a mode below a threshold by more than the noise floor, and those of which this is not known.

    :param threshold: THz.
    """
    below, unknown = [], []
    for row in rows:
        lowest, noise = row['min_frequency'], row['noise_floor']
        if row['status'] != 'ok':
            continue
        if lowest is None or noise is None:
            unknown.append(row)
        elif lowest < threshold - noise:
            below.append(row)
    return below, unknown


@click.group('query')
def command() -> None:
    """Questions to the results of all screens in the profile.

    Rows are kept with their screens when these end: a table of ten thousand takes less than a second to find. The same
    from Python:

    \b
    from aiida_mlfc.data.tables import rows_of_all
    rows = [row for row, _, _ in rows_of_all('LABEL OF A GROUP')]
    """


@command.command('unstable')
@click.option(
    '--threshold', type=float, default=-0.05, show_default=True, help='THz; modes below it count as imaginary.'
)
@_options
@click.pass_context
def unstable(ctx: click.Context, threshold: float, group: str | None, as_json: bool, limit: int) -> None:
    """Crystals with a mode below a threshold (by more than the noise floor)."""
    below, unknown = unstable_rows([row for row, _, _ in _rows(ctx, group)], threshold)
    _show(below, as_json, limit)
    if unknown:
        names = ', '.join(printable(row['name']) for row in unknown[:NAMED])
        more = ', ...' if len(unknown) > NAMED else ''
        click.echo(f'Not known of {len(unknown)}, whose frequencies are no numbers: {names}{more}', err=True)


@command.command('made-with')
@click.argument('potential')
@_options
@click.pass_context
def made_with(ctx: click.Context, potential: str, group: str | None, as_json: bool, limit: int) -> None:
    """Everything made with POTENTIAL: its name, or the first letters of its sha256."""
    _show(
        [
            row
            for row, _, _ in _rows(ctx, group)
            if row['potential'] == potential or (row['potential_sha256'] or '').startswith(potential)
        ],
        as_json,
        limit,
    )


@command.command('failed')
@_options
@click.pass_context
def failed(ctx: click.Context, group: str | None, as_json: bool, limit: int) -> None:
    """Crystals without phonons, and why."""
    _show([row for row, _, _ in _rows(ctx, group) if row['status'] == 'failed'], as_json, limit)


@command.command('all')
@_options
@click.pass_context
def everything(ctx: click.Context, group: str | None, as_json: bool, limit: int) -> None:
    """Every crystal of every screen."""
    _show([row for row, _, _ in _rows(ctx, group)], as_json, limit)


@command.command('where-from')
@click.argument('identifier')
@click.option('--json', 'as_json', is_flag=True)
@click.pass_context
def where_from(ctx: click.Context, identifier: str, as_json: bool) -> None:
    """The way back from a number: IDENTIFIER is a name, or the start of a structure or force-constants UUID."""
    found = {}
    for row, pk, key in _rows(ctx):
        uuids = (row['structure_uuid'] or '', row['force_constants_uuid'] or '')
        if row['name'] == identifier or any(u.startswith(identifier) for u in uuids):
            found[f'{row["name"]} [{pk}]'] = _outcome(pk).provenance(key)
    if not found:
        raise click.ClickException(f'no crystal is called {identifier!r} or has such a UUID')
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for name, way in found.items():
        click.echo(name)
        for label, text in way.items():
            click.echo(f'  {label:16} {text}')
