"""``aiida-mlfc compare``: force constants against references, pair by pair or a whole set with several potentials."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import click


@click.command('compare')
@click.argument('items', nargs=-1, metavar='[A B...]')
@click.option(
    '--set', 'folder', type=click.Path(exists=True, path_type=Path), help='References for a scoreboard of potentials.'
)
@click.option('--potential', 'potentials', multiple=True, metavar='NAME|FILE', help='With --set; any number of them.')
@click.option(
    '--supercell', nargs=3, type=click.IntRange(min=1), default=None, help='Where the files of a reference do not say.'
)
@click.option(
    '--symprec', type=click.FloatRange(min=0, min_open=True), default=None, help='Å; by default what files say.'
)
@click.option(
    '--nac',
    type=click.Choice(['both', 'shared', 'off']),
    default=None,
    help='Born charges: each side its own; those of one side for both (default with a potential); none.',
)
@click.option(
    '--geometry',
    type=click.Choice(['reference', 'own']),
    default='reference',
    show_default=True,
    help="Where a potential is evaluated: at the reference's geometry, or relaxed with it, cell and positions.",
)
@click.option('--device', default='cpu', show_default=True, help='Where potentials are evaluated.')
@click.option(
    '--work',
    type=click.Path(file_okay=False, path_type=Path),
    help='Keep job folders here; an interrupted run goes on.',
)
@click.option('--json', 'as_json', is_flag=True, help='Print JSON instead of tables.')
@click.option('--output', '-o', type=click.Path(dir_okay=False, path_type=Path), help='Also write an HTML page.')
def command(items: tuple[str, ...], folder: Path | None, potentials: tuple[str, ...], **arguments: Any) -> None:
    """Compare force constants: B... against A.

    Each is a reference (phonopy.yaml, FORCE_SETS, FORCE_CONSTANTS, a folder or archive of them) or a potential (a name
    or a checkpoint file). Folders are paired by name; a potential is compared with every reference, in the
    reference's supercell. Exit code 0: everything was compared; 1: some pairs were refused, their rows say why.
    """
    from aiida_mlfc.core.checkpoint_header import CheckpointError

    pairs = _pairs(items, folder, potentials)
    try:
        outcomes = list(_outcomes(pairs, arguments))
    except (CheckpointError, RuntimeError, FileNotFoundError) as error:
        raise click.ClickException(str(error)) from error
    _print(outcomes, potentials, arguments)
    sys.exit(1 if any(outcome.row['status'] != 'ok' for outcome in outcomes) else 0)


def _pairs(items: tuple[str, ...], folder: Path | None, potentials: tuple[str, ...]) -> list[tuple[str, str]]:
    """References first; a potential is compared with a reference, not the other way round."""
    from aiida_mlfc.cli.potential_jobs import is_potential

    if folder is not None:
        if items or not potentials:
            raise click.UsageError('--set FOLDER goes with one or more --potential, and without A B')
        return [(str(folder), potential) for potential in potentials]
    if potentials:
        raise click.UsageError('--potential goes with --set; otherwise name potentials as A or B')
    if len(items) < 2:
        raise click.UsageError('wanted at least two things to compare, A and B')
    known = {item: is_potential(item) for item in items}
    for item, found in known.items():
        if not found and not Path(item).exists():
            raise click.BadParameter(
                f'{item!r} is neither a file or folder nor the name of a potential', param_hint='A B'
            )
    pairs = []
    for other in items[1:]:
        first, second = (other, items[0]) if known[items[0]] else (items[0], other)
        if known[first]:
            raise click.UsageError(f'{first} and {second} are both potentials; compare each with a reference')
        pairs.append((first, second))
    return pairs


def _outcomes(pairs: list[tuple[str, str]], arguments: dict[str, Any]) -> Iterator[Any]:
    from aiida_mlfc.cli.comparing import Task, Watch, Where
    from aiida_mlfc.cli.potential_jobs import is_potential, potential_file
    from aiida_mlfc.core.references.settings import Settings
    from aiida_mlfc.reports.comparison_figures import comparison_parcel

    settings = Settings(supercell_matrix=arguments['supercell'], symprec=arguments['symprec'])
    task = Task(
        settings,
        lambda text: click.echo(text, err=True),
        arguments['nac'],
        comparison_parcel if arguments['output'] else None,
    )
    watch = Watch()
    with tempfile.TemporaryDirectory(prefix='mlfc-compare-') as temporary:
        folder = arguments['work'] or Path(temporary)
        where = Where(arguments['device'], arguments['geometry'] == 'own')
        # Potentials that follow each other on one set share its references, which take time to read.
        for (first, potential), group in groupby(pairs, key=lambda pair: (pair[0], is_potential(pair[1]))):
            others = [second for _, second in group]
            if potential:
                files = [potential_file(second) for second in others]
                found = task.with_potentials(Path(first), files, _label(first), folder, where)
            else:
                found = chain.from_iterable(
                    task.of_references(Path(first), Path(second), (_label(first), _label(second))) for second in others
                )
            for outcome in found:
                watch(outcome)
                yield outcome


def _label(path: str) -> str:
    """What a reference is called in a table: the last part of its path, as a screen calls a file."""
    return Path(path).resolve().name


def _print(outcomes: list[Any], potentials: tuple[str, ...], arguments: dict[str, Any]) -> None:
    """Rows, the scoreboard where a set was asked for, and the page."""
    from aiida_mlfc.cli.comparing import scoreboard
    from aiida_mlfc.reports.comparison_page import write_comparison_page
    from aiida_mlfc.reports.comparison_table import print_comparisons, print_scoreboard
    from aiida_mlfc.reports.plain_json import json_text

    rows = [outcome.row for outcome in outcomes]
    scores = scoreboard(outcomes)
    if arguments['output']:
        parcels = [outcome.parcel for outcome in outcomes]
        write_comparison_page(arguments['output'], rows, [o.summary for o in outcomes], parcels, scores)
        click.echo(str(arguments['output']), err=True)
    if arguments['as_json']:
        board = {'scoreboard': [score.to_dict() for score in scores]}
        content = {'rows': rows, **board} if potentials else rows
        click.echo(json_text(content, indent=2))
        return
    print_comparisons(rows)
    if potentials or len(rows) > 2:
        print_scoreboard(scores)
