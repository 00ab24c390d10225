"""``aiida-mlfc export``: screens with everything behind them as one AiiDA archive, which any AiiDA opens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command('export')
@click.argument('screens', nargs=-1, required=True)
@click.option(
    '-o', '--output', type=click.Path(dir_okay=False, path_type=Path), required=True, help='Archive to write (.aiida).'
)
@click.option('--overwrite', is_flag=True, help='Replace the archive if it is there.')
@click.pass_context
def command(ctx: click.Context, screens: tuple[str, ...], output: Path, overwrite: bool) -> None:
    """Write SCREENS to an AiiDA archive: labels of groups, PKs or UUIDs of screens, or LAST for the newest group.

    `verdi archive import FILE` and `aiida-mlfc query` or `report` show the same rows in another profile.
    """
    from aiida.common.exceptions import AiidaException
    from aiida.tools.archive import create_archive

    from aiida_mlfc.cli.profile import load_or_create_profile

    load_or_create_profile(ctx.obj['profile'])
    if output.exists() and not overwrite:
        raise click.BadParameter(f'{output} exists; --overwrite replaces it', param_hint='--output')
    entities = [_entity(name) for name in screens]
    try:
        create_archive(entities, filename=output, overwrite=overwrite, call_calc_backward=True, call_work_backward=True)
    except (AiidaException, OSError) as error:
        raise click.ClickException(f'the archive was not written: {error}') from error
    click.echo(f'{output} ({output.stat().st_size / 1e6:.1f} MB)', err=True)


def _entity(name: str) -> Any:
    """A group by label, a process by identifier, or the newest group with a screen in it.

    :raises click.BadParameter: if there is none.
    """
    from aiida.common.exceptions import MultipleObjectsError, NotExistent
    from aiida.orm import Group, QueryBuilder, WorkChainNode, load_node

    from aiida_mlfc.data.screens import SCREEN_TYPE

    query = QueryBuilder()
    if name == 'LAST':
        query.append(WorkChainNode, filters={'process_type': SCREEN_TYPE}, tag='screen')
        query.append(Group, with_node='screen', project='*')
        query.order_by({'screen': {'ctime': 'desc'}})
    else:
        query.append(Group, filters={'label': name}, project='*')
    if (group := query.first(flat=True)) is not None:
        return group
    try:
        return load_node(name)
    except (NotExistent, MultipleObjectsError, ValueError) as error:
        labels = QueryBuilder().append(WorkChainNode, filters={'process_type': SCREEN_TYPE}, tag='screen')
        labels.append(Group, with_node='screen', project='label')
        known = ', '.join(sorted(set(labels.all(flat=True)))) or 'none'
        raise click.BadParameter(f'{name!r} is no group and no process; groups of screens: {known}') from error
