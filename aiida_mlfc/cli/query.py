"""``aiida-mlfc query``: the questions people ask of a database of phonons."""

from __future__ import annotations

import json
from typing import Any

import click


def _rows(ctx: click.Context) -> list[Any]:
    """All rows of the profile, newest screens first, with their outcomes."""
    from aiida_mlfc.cli.profile import load_or_create_profile
    from aiida_mlfc.data.outcomes import ScreenOutcome
    from aiida_mlfc.data.screens import all_screens

    load_or_create_profile(ctx.obj['profile'])
    return [
        (outcome.row(key), outcome, key) for outcome in map(ScreenOutcome, all_screens()) for key in outcome.structures
    ]


def _show(rows: list[Any], as_json: bool) -> None:
    from aiida_mlfc.reports.rows import rows_to_json
    from aiida_mlfc.reports.table import print_table

    if as_json:
        click.echo(rows_to_json(rows), nl=False)
    elif rows:
        print_table(rows)
    else:
        click.echo('None.', err=True)


@click.group('query')
def command() -> None:
    """Questions to the results of all screens in the profile."""


@command.command('unstable')
@click.option(
    '--threshold', type=float, default=-0.05, show_default=True, help='THz; modes below it count as imaginary.'
)
@click.option('--json', 'as_json', is_flag=True)
@click.pass_context
def unstable(ctx: click.Context, threshold: float, as_json: bool) -> None:
    """Crystals with a mode below a threshold (by more than the noise floor)."""
    _show(
        [
            row
            for row, _, _ in _rows(ctx)
            if row['status'] == 'ok' and row['min_frequency'] < threshold - row['noise_floor']
        ],
        as_json,
    )


@command.command('made-with')
@click.argument('potential')
@click.option('--json', 'as_json', is_flag=True)
@click.pass_context
def made_with(ctx: click.Context, potential: str, as_json: bool) -> None:
    """Everything made with POTENTIAL: its name, or the first letters of its sha256."""
    _show(
        [
            row
            for row, _, _ in _rows(ctx)
            if row['potential'] == potential or (row['potential_sha256'] or '').startswith(potential)
        ],
        as_json,
    )


@command.command('failed')
@click.option('--json', 'as_json', is_flag=True)
@click.pass_context
def failed(ctx: click.Context, as_json: bool) -> None:
    """Crystals without phonons, and why."""
    _show([row for row, _, _ in _rows(ctx) if row['status'] == 'failed'], as_json)


@command.command('where-from')
@click.argument('identifier')
@click.option('--json', 'as_json', is_flag=True)
@click.pass_context
def where_from(ctx: click.Context, identifier: str, as_json: bool) -> None:
    """The way back from a number: IDENTIFIER is a name, or the start of a structure or force-constants UUID."""
    found = {}
    for row, outcome, key in _rows(ctx):
        uuids = (row['structure_uuid'] or '', row['force_constants_uuid'] or '')
        if row['name'] == identifier or any(u.startswith(identifier) for u in uuids):
            found[f'{row["name"]} [{outcome.process.pk}]'] = outcome.provenance(key)
    if not found:
        raise click.ClickException(f'no crystal is called {identifier!r} or has such a UUID')
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for name, way in found.items():
        click.echo(name)
        for label, text in way.items():
            click.echo(f'  {label:16} {text}')
