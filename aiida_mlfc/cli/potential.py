"""``aiida-mlfc potential``: which potentials there are, and what their cards say."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any

import click

#: command -> module that holds it; imported when it is called
_ELSEWHERE = {'evaluate': 'aiida_mlfc.cli.potential_evaluate', 'train': 'aiida_mlfc.cli.potential_train'}


class _Group(click.Group):
    """A group some of whose commands are modules of their own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*self.commands, *_ELSEWHERE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _ELSEWHERE:
            return import_module(_ELSEWHERE[cmd_name]).command
        return super().get_command(ctx, cmd_name)


@click.group('potential', cls=_Group)
def command() -> None:
    """Potentials: the shipped ones, files, and those in the profile."""


def _summary(path: Any) -> dict[str, Any]:
    from ase.data import chemical_symbols

    from aiida_mlfc.core.checkpoint_files import read_header
    from aiida_mlfc.core.checkpoint_header import sha256_of

    header = read_header(path)
    return {
        'name': header.card.get('name', path.stem),
        'architecture': header.architecture,
        'elements': [chemical_symbols[z] for z in header.species],
        'cutoff': header.cutoff,
        'licence': header.card.get('licence', 'not stated'),
        'sha256': sha256_of(path),
    }


@command.command('list')
@click.option('--json', 'as_json', is_flag=True)
def list_potentials(as_json: bool) -> None:
    """The potentials in the package; without --json also the names that are fetched on first use."""
    from aiida_mlfc.core.checkpoint_files import published_names, resolve, shipped_names

    found = [_summary(resolve(name)) for name in shipped_names()]
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for entry in found:
        click.echo(
            f'{entry["name"]:16} {entry["architecture"]:6} {entry["cutoff"]:.1f} Å  {" ".join(entry["elements"])}'
        )
    click.echo(f'fetched on first use: {", ".join(published_names())}')


@command.command('show')
@click.argument('potential')
@click.option('--json', 'as_json', is_flag=True)
def show(potential: str, as_json: bool) -> None:
    """The model card of POTENTIAL, a shipped or published name (fetched if it is not there), or a checkpoint file."""
    import yaml

    from aiida_mlfc.core.checkpoint_files import read_header, resolve
    from aiida_mlfc.core.checkpoint_header import CheckpointError

    try:
        path = resolve(potential)
        content = {**_summary(path), 'config': read_header(path).config, 'card': read_header(path).card}
    except CheckpointError as error:
        raise click.ClickException(str(error)) from error
    click.echo(
        json.dumps(content, indent=2, ensure_ascii=False)
        if as_json
        else yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120),
    )


@command.command('import')
@click.argument('path', type=click.Path(exists=True, dir_okay=False))
@click.pass_context
def import_potential(ctx: click.Context, path: str) -> None:
    """Store the checkpoint at PATH in the profile; the same file is stored once."""
    from aiida_mlfc.cli.profile import load_or_create_profile
    from aiida_mlfc.core.checkpoint_header import CheckpointError
    from aiida_mlfc.data.potential import PotentialData

    load_or_create_profile(ctx.obj['profile'])
    try:
        node = PotentialData.get_or_create(path)
    except CheckpointError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f'PotentialData {node.uuid} {node.name} sha256 {node.sha256}')
