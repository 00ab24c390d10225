"""``aiida-mlfc screen``: crystals in files and folders to phonons, again and again without repeating anything."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click


@click.command('screen')
@click.argument('paths', nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    '--potential', 'potential_name', default='dx-demo', show_default=True, help='A name, or a checkpoint file.'
)
@click.option('--protocol', default=None, help='fast, balanced (default) or stringent.')
@click.option('--supercell', nargs=3, type=click.IntRange(min=1), default=None, help='Repeats along the cell vectors.')
@click.option('--relax/--no-relax', default=True, show_default=True, help='Relax positions first.')
@click.option('--relax-cell', is_flag=True, help='Relax the cell too; needs a potential trained on stress.')
@click.option('--nac/--no-nac', default=True, show_default=True, help='Use Born charges in NAME.BORN beside NAME.cif.')
@click.option(
    '--look-again',
    is_flag=True,
    help='Recompute crystals whose imaginary modes lie within their errors: relaxed further, in larger supercells.',
)
@click.option('--code', 'code_label', default=None, help='Code label; by default mlfc-run on this machine.')
@click.option(
    '--options',
    'options_file',
    type=click.File(),
    help='YAML with metadata.options of the jobs: resources, queue_name, max_wallclock_seconds, ...',
)
@click.option(
    '--shard-size', type=click.IntRange(min=1), default=250, show_default=True, help='Crystals in one job, at most.'
)
@click.option(
    '--job-minutes',
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    help='What a job should take; crystals are packed by estimated cost, learned from jobs that ran.',
)
@click.option(
    '--concurrent', type=click.IntRange(min=1), default=4, show_default=True, help='Jobs that run at the same time.'
)
@click.option(
    '--group', metavar='LABEL', help='AiiDA group that collects the screens; by default one for the settings.'
)
@click.option('--foreground', is_flag=True, help='Run in this process, without the daemon.')
@click.option('--json', 'as_json', is_flag=True, help='Print the rows as JSON instead of a table.')
@click.option(
    '--output', '-o', type=click.Path(dir_okay=False, path_type=Path), help='Also write the rows (JSON) here.'
)
@click.option(
    '--allow-failures', is_flag=True, help='Exit with 0 although files could not be used, if all others were.'
)
@click.pass_context
def command(ctx: click.Context, **arguments: Any) -> None:
    """Phonons of the crystals in PATHS: CIF, POSCAR, extxyz, or folders of them.

    Running it again finishes what is missing. Exit code 0: every crystal has phonons (with --allow-failures: every one
    that can be computed); 1: something failed, its row says why.
    """
    from aiida_mlfc.cli.profile import load_or_create_profile
    from aiida_mlfc.cli.screening import Launch, Screening
    from aiida_mlfc.core.checkpoint_header import CheckpointError
    from aiida_mlfc.reports.rows import rows_to_json, write_rows
    from aiida_mlfc.reports.table import print_table

    load_or_create_profile(ctx.obj['profile'])
    overrides: dict[str, Any] = {'relax': {'parameters': {'relax_cell': arguments['relax_cell']}}}
    if arguments['supercell']:
        overrides['force_constants'] = {'parameters': {'supercell_matrix': list(arguments['supercell'])}}
    try:
        screening = Screening(
            arguments['paths'],
            arguments['potential_name'],
            arguments['protocol'],
            overrides,
            arguments['relax'],
            arguments['nac'],
            arguments['group'],
            arguments['look_again'],
        )
    except (CheckpointError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    launch = Launch(
        arguments['code_label'],
        arguments['shard_size'],
        arguments['job_minutes'],
        arguments['concurrent'],
        _options(arguments['options_file']),
    )
    screening.run(launch, arguments['foreground'])
    rows = screening.rows()
    if arguments['output']:
        write_rows(arguments['output'], rows)
    if arguments['as_json']:
        click.echo(rows_to_json(rows), nl=False)
    else:
        print_table(rows)
    failed = [row for row in rows if row['status'] == 'failed']
    click.echo(
        f'{len(rows) - len(failed)} of {len(rows)} crystals have phonons, {screening.n_reused} of them from earlier '
        f'runs; {len(failed)} failed.',
        err=True,
    )
    # By position: a name may stand for a broken file and for a crystal that failed.
    unexpected = [k for k, row in enumerate(rows) if row['status'] == 'failed' and k not in screening.refused]
    sys.exit(1 if unexpected or (failed and not arguments['allow_failures']) else 0)


def _options(handle: Any) -> dict[str, Any] | None:
    """Job options from a YAML file.

    :raises click.BadParameter: if it holds no mapping.
    """
    if handle is None:
        return None
    import yaml

    try:
        content = yaml.safe_load(handle)
    except yaml.YAMLError as error:
        raise click.BadParameter(f'{handle.name} is no YAML: {error}', param_hint='--options') from error
    if not isinstance(content, dict):
        raise click.BadParameter(f'{handle.name} holds no mapping', param_hint='--options')
    return content
