"""``aiida-mlfc follow``: imaginary modes of a crystal followed to stable ones, the tree as a table and as a page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click


@click.command('follow')
@click.argument('path', metavar='FILE', type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    '--potential', 'potential_name', default='dx-demo', show_default=True, help='A name, or a checkpoint file.'
)
@click.option('--generations', type=click.IntRange(min=0), default=3, show_default=True, help='Steps from the root.')
@click.option(
    '--children',
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help='Crystals of a generation that are followed, those of lowest energy.',
)
@click.option(
    '--max-atoms', type=click.IntRange(min=1), default=80, show_default=True, help='Atoms in a displaced supercell.'
)
@click.option(
    '--mesh',
    nargs=3,
    type=click.IntRange(min=1),
    default=(2, 2, 2),
    show_default=True,
    help='Which wave vectors are searched: those that fit into so many primitive cells.',
)
@click.option(
    '--threshold',
    type=click.FloatRange(min=0),
    default=0.05,
    show_default=True,
    help='THz; modes above minus this one count as stable.',
)
@click.option(
    '--directions', type=click.IntRange(min=1), default=3, show_default=True, help='Of each degenerate set of modes.'
)
@click.option('--relax-cell/--no-relax-cell', default=True, show_default=True, help='Or positions only.')
@click.option(
    '--confirm-mesh',
    nargs=3,
    type=click.IntRange(min=1),
    default=(4, 4, 4),
    show_default=True,
    help='Denser mesh of wave vectors for a last look at what is stable.',
)
@click.option('--phonons/--no-phonons', default=True, show_default=True, help='Bands of what is stable, too.')
@click.option('--protocol', default=None, help='fast, balanced (default) or stringent.')
@click.option('--code', 'code_label', default=None, help='Code label; by default mlfc-run on this machine.')
@click.option('--options', 'options_file', type=click.File(), help='YAML with metadata.options of the jobs.')
@click.option('--json', 'as_json', is_flag=True, help='Print the tree as JSON instead of a table.')
@click.option('--output', '-o', type=click.Path(dir_okay=False, path_type=Path), help='Also write a page (HTML) here.')
@click.pass_context
def command(ctx: click.Context, **arguments: Any) -> None:
    """Follow the imaginary modes of the crystal in FILE downhill.

    It runs in this process; jobs that are done already come from the cache. Exit code 0: the lowest crystal found is
    stable; 1: the computation failed; 3: the budget ended before that.
    """
    from aiida_mlfc.cli.profile import load_or_create_code, load_or_create_profile
    from aiida_mlfc.cli.screen import _options
    from aiida_mlfc.core.checkpoint_header import CheckpointError
    from aiida_mlfc.core.structures.checks import UnknownSpeciesError, check_species
    from aiida_mlfc.core.structures.reading import read_crystals
    from aiida_mlfc.reports.following_page import write_following_page
    from aiida_mlfc.reports.following_table import print_tree
    from aiida_mlfc.reports.plain_json import json_text

    load_or_create_profile(ctx.obj['profile'])
    from aiida_mlfc.data.potential import PotentialData

    crystals = list(read_crystals([arguments['path']]))
    if len(crystals) != 1 or crystals[0].atoms is None:
        found = crystals[0].error if len(crystals) == 1 else f'{len(crystals)} crystals'
        raise click.ClickException(f'{arguments["path"]}: got {found}, wanted one crystal')
    try:
        potential = PotentialData.get_or_create(arguments['potential_name'])
        check_species(crystals[0].atoms.numbers, potential.species)
    except (CheckpointError, UnknownSpeciesError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    builder = _builder(crystals[0], potential, load_or_create_code(arguments['code_label']), arguments, _options)
    outputs, process = _run(builder)
    tree = outputs['output_tree'].get_dict()
    if arguments['output']:
        note = f'{potential.name}, sha256 {potential.sha256[:12]}; {process.process_label} {process.uuid}'
        write_following_page(arguments['output'], tree, f'{crystals[0].name}: imaginary modes followed', note)
    if arguments['as_json']:
        click.echo(json_text({**tree, 'process': process.uuid}, indent=2))
    else:
        print_tree(tree)
    sys.exit({'stable': 0, 'budget': 3}.get(tree['outcome']['state'], 1))


def _run(builder: Any) -> tuple[Any, Any]:
    """Outputs and node of a work chain that runs here.

    :raises click.ClickException: if it failed, or was killed: by Ctrl-C, or from another terminal.
    """
    from aiida.engine import run_get_node
    from plumpy import KilledError

    try:
        outputs, process = run_get_node(builder)
    except KilledError as error:
        raise click.ClickException(f'{error}. Called again, it begins from the jobs that are done') from error
    if not process.is_finished_ok:
        reason = process.exit_message or f'exit status {process.exit_status}'
        raise click.ClickException(f'{process.process_label}<{process.pk}>: {reason}')
    return outputs, process


def _builder(crystal: Any, potential: Any, code: Any, arguments: dict[str, Any], read_options: Any) -> Any:
    """The work chain, filled in."""
    from aiida_mlfc.data.crystals import structure_nodes
    from aiida_mlfc.workchains.follow import FollowWorkChain

    (node,) = structure_nodes([(crystal.name, crystal.atoms, str(crystal.path.resolve()))]).values()
    try:
        builder = FollowWorkChain.get_builder_from_protocol(
            code,
            node,
            potential,
            protocol=arguments['protocol'],
            overrides={'relax': {'parameters': {'relax_cell': arguments['relax_cell']}}},
            options=read_options(arguments['options_file']),
            budget={
                'generations': arguments['generations'],
                'children': arguments['children'],
                'atoms': arguments['max_atoms'],
            },
            displace={'mesh': list(arguments['mesh']), **{k: arguments[k] for k in ('threshold', 'directions')}},
            confirm_mesh=list(arguments['confirm_mesh']),
            phonons=arguments['phonons'],
        )
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    builder.metadata.label = f'{crystal.name}, {potential.name}'
    return builder
