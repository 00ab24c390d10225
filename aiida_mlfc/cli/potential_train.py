"""``aiida-mlfc potential train``: DFT force sets in, a potential with its card out."""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from aiida_mlfc.cli.training_settings import ON_COMMAND_LINE, training_settings
from aiida_mlfc.exchange.training_options import TrainOptions, commented_defaults, train_options


def _show_config(ctx: click.Context, parameter: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        click.echo(commented_defaults(), nl=False)
        ctx.exit()


@click.command('train')
@click.option(
    '--reference',
    'references',
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    metavar='PATH',
    help='Files of phonopy or phono3py, extended XYZ, a folder or archive of them; any number of times.',
)
@click.option('--output', '-o', required=True, type=click.Path(dir_okay=False, path_type=Path), help='.safetensors')
@click.option(
    '--config',
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='YAML: any of the settings below, and sections model (fields of DXConfig) and recipe (fields of Recipe).',
)
@training_settings
@click.option('--learn-all', is_flag=True, help='Hold nothing back: no errors on configurations never seen.')
@click.option('--work', type=click.Path(file_okay=False, path_type=Path), help='By default OUTPUT.training.')
@click.option(
    '--resume',
    '--restart_latest',
    is_flag=True,
    help='Refuse to start anew: there has to be a state to continue from.',
)
@click.option(
    '--show-config',
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_config,
    help='Print a configuration file with all settings, their defaults and meanings, and stop.',
)
@click.option('--supercell', nargs=3, type=click.IntRange(min=1), default=None, help='Where the files do not say.')
@click.option('--symprec', type=click.FloatRange(min=0, min_open=True), default=None, help='Å; by default as stored.')
@click.option('--json', 'as_json', is_flag=True, help='Print JSON instead of a table.')
def command(references: tuple[Path, ...], output: Path, work: Path | None, as_json: bool, **arguments: Any) -> None:
    """Train a small potential on force sets, or train a potential further (--foundation_model).

    Settings have the names they have in MACE; they are accepted with - in place of _.

    Every second configuration is learned from, the others give the errors in the table and on the card. Force constants
    without forces are learned as they are: nothing of them is held back, and table and card say so. Bad force sets
    (forces that are no numbers, atoms in another order, another functional mixed in, broken files) are named and left
    out. Kill it at any time: the same command continues, and ends with the same weights. Its state, log.jsonl,
    learning_curve.png and, if it is installed, TensorBoard's files are in OUTPUT.training/training.

    Exit code 0: trained on everything; 1: some references were left out, or nothing was trained; 143: stopped, the
    same command continues.
    """
    from aiida_mlfc.cli.training import STOPPED, TrainingError, has_state, output_suffix, prepare_job, run
    from aiida_mlfc.core.references.settings import Settings
    from aiida_mlfc.reports.evaluation_table import print_evaluations
    from aiida_mlfc.reports.plain_json import json_text

    options = _options(arguments, output)
    try:
        train_options(options)
        suffix = output_suffix(options)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if output.suffix != suffix:
        raise click.BadParameter(f'got {output.name!r}, wanted NAME{suffix}', param_hint='--output')
    folder = work or output.with_name(f'{output.name}.training')
    if arguments['resume'] and not has_state(folder):
        raise click.ClickException(f'there is no state to continue from in {folder}')
    settings = Settings(supercell_matrix=arguments['supercell'], symprec=arguments['symprec'])
    try:
        refused = prepare_job(references, folder, options, settings)
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


#: flags that are set unless somebody says no
_ON = tuple(setting.name for setting in fields(TrainOptions) if setting.default is True)


def _options(arguments: dict[str, Any], output: Path) -> dict[str, Any]:
    """Options of the task: those of the configuration file, and above them those of the command line."""
    import yaml

    options: dict[str, Any] = {'name': output.stem}
    if arguments['config'] is not None:
        try:
            content = yaml.safe_load(arguments['config'].read_text()) or {}
        except yaml.YAMLError as error:
            raise click.BadParameter(f'is no YAML: {error}', param_hint='--config') from error
        if not isinstance(content, dict):
            raise click.BadParameter(f'got a {type(content).__name__}, wanted settings by name', param_hint='--config')
        # a key without a value is as good as none
        options |= {key: value for key, value in content.items() if value is not None}
        options |= _with_energies(options, '--config')
        try:
            train_options(options)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint='--config') from error
    if arguments['steps'] is not None and arguments['minutes'] is not None:
        raise click.UsageError('--steps or --minutes, not both')
    # flags that were not given are False, options that may be given several times ()
    given = {name: arguments[name] for name in ON_COMMAND_LINE if arguments[name] is not None}
    given = {name: value for name, value in given.items() if value != () and (value is not False or name in _ON)}
    options |= {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
    if arguments['steps'] is not None:
        options.pop('minutes', None)
    if arguments['learn_all']:
        options['hold_back'] = False
    return options | _with_energies(options, '--E0s')


def _with_energies(options: dict[str, Any], hint: str) -> dict[str, Any]:
    """``E0s`` as the job file has them: a mapping, or the content of a file, as JSON."""
    import yaml

    given = options.get('E0s')
    # text that is JSON already is no name, and too long for one
    if isinstance(given, str) and not given.lstrip().startswith('{') and Path(given).is_file():
        try:
            given = yaml.safe_load(Path(given).read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise click.BadParameter(f'E0s: {options["E0s"]} is no JSON or YAML: {error}', param_hint=hint) from error
        if not isinstance(given, dict):
            raise click.BadParameter(f'E0s: {options["E0s"]} holds no energies by symbol', param_hint=hint)
    if not isinstance(given, dict):
        return {}
    # YAML knows "No" and "Y" as words: symbols that are none are refused by name
    return {'E0s': json.dumps({str(symbol): energy for symbol, energy in given.items()})}
