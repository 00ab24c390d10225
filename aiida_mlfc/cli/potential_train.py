"""``aiida-mlfc potential train``: DFT force sets in, a potential with its card out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click


@click.command('train')
@click.option(
    '--reference',
    'references',
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    metavar='PATH',
    help='phonopy.yaml, FORCE_SETS, extended XYZ, a folder or archive of them; any number of times.',
)
@click.option('--output', '-o', required=True, type=click.Path(dir_okay=False, path_type=Path), help='.safetensors')
@click.option('--name', help='On the card; by default the name of the output.')
@click.option(
    '--config',
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='YAML: sections model (fields of DXConfig) and recipe (fields of Recipe), and the options of this command.',
)
@click.option('--steps', type=click.IntRange(min=1), help='600 to 2500 by default, by what a step costs.')
@click.option('--minutes', type=click.FloatRange(min=0, min_open=True), help='As many steps as fit, timed first.')
@click.option('--seed', type=int, help='0 by default; the same seed, data and steps give the same potential.')
@click.option('--learn-all', is_flag=True, help='Hold nothing back: no errors on configurations never seen.')
@click.option('--checkpoint-minutes', type=click.FloatRange(min=0), help='Between states; 2 by default.')
@click.option('--threads', type=click.IntRange(min=1), help='Of the training process.')
@click.option('--device', default='cpu', show_default=True)
@click.option('--work', type=click.Path(file_okay=False, path_type=Path), help='By default OUTPUT.training.')
@click.option('--resume', is_flag=True, help='Refuse to start anew: there has to be a state to continue from.')
@click.option('--supercell', nargs=3, type=click.IntRange(min=1), default=None, help='Where the files do not say.')
@click.option('--symprec', type=click.FloatRange(min=0, min_open=True), default=None, help='Å; by default as stored.')
@click.option('--json', 'as_json', is_flag=True, help='Print JSON instead of a table.')
def command(references: tuple[Path, ...], output: Path, work: Path | None, as_json: bool, **arguments: Any) -> None:
    """Train a small potential on force sets.

    Every second configuration is learned from, the others give the errors in the table and on the card. Bad force sets
    (forces that are no numbers, atoms in another order, another functional mixed in, broken files) are named and left
    out. Kill it at any time: the same command continues, and ends with the same weights. Its state and log.jsonl are in
    OUTPUT.training.

    Exit code 0: trained on everything; 1: some references were left out, or nothing was trained; 143: stopped, the
    same command continues.
    """
    from aiida_mlfc.cli.training import STOPPED, TrainingError, has_state, prepare_job, run
    from aiida_mlfc.core.references.settings import Settings
    from aiida_mlfc.reports.evaluation_table import print_evaluations
    from aiida_mlfc.reports.plain_json import json_text

    if output.suffix != '.safetensors':
        raise click.BadParameter(f'got {output.name!r}, wanted NAME.safetensors', param_hint='--output')
    folder = work or output.with_name(f'{output.name}.training')
    if arguments['resume'] and not has_state(folder):
        raise click.ClickException(f'there is no state to continue from in {folder}')
    settings = Settings(supercell_matrix=arguments['supercell'], symprec=arguments['symprec'])
    try:
        refused = prepare_job(references, folder, _options(arguments, output), settings)
        trained = run(folder, output)
    except (TrainingError, FileNotFoundError) as error:
        raise click.ClickException(str(error)) from error
    if trained.code == STOPPED:
        click.echo(f'stopped; the same command continues from {folder}', err=True)
        sys.exit(STOPPED)
    rows = [*trained.rows, *refused]
    if as_json:
        click.echo(json_text(rows, indent=2))
    else:
        print_evaluations(rows)
    click.echo(str(output), err=True)
    sys.exit(1 if any(row['status'] != 'ok' for row in rows) else 0)


def _options(arguments: dict[str, Any], output: Path) -> dict[str, Any]:
    """Options of the task: those of the configuration file, and above them those of the command line."""
    import yaml

    from aiida_mlfc.cli.training import SECTIONS

    options: dict[str, Any] = {'name': output.stem}
    if arguments['config'] is not None:
        try:
            content = yaml.safe_load(arguments['config'].read_text()) or {}
        except yaml.YAMLError as error:
            raise click.BadParameter(f'is no YAML: {error}', param_hint='--config') from error
        if not isinstance(content, dict) or set(content) - set(SECTIONS):
            found = sorted(set(content) - set(SECTIONS)) if isinstance(content, dict) else type(content).__name__
            raise click.BadParameter(f'got {found}, wanted keys of {", ".join(SECTIONS)}', param_hint='--config')
        options |= content
    if arguments['steps'] is not None and arguments['minutes'] is not None:
        raise click.UsageError('--steps or --minutes, not both')
    given = ('name', 'steps', 'minutes', 'seed', 'checkpoint_minutes', 'threads', 'device')
    options |= {key: arguments[key] for key in given if arguments[key] is not None}
    if arguments['steps'] is not None:
        options.pop('minutes', None)
    if arguments['learn_all']:
        options['hold_back'] = False
    return options
