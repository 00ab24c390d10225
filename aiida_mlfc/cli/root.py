"""The ``aiida-mlfc`` command. Subcommands are imported when they are called, so ``--help`` is instant."""

from __future__ import annotations

from importlib import import_module

import click

from aiida_mlfc import __version__

#: command -> module that holds it, and its one-line help
_COMMANDS = {
    'screen': ('aiida_mlfc.cli.screen', 'Phonons of crystals in files and folders.'),
    'follow': ('aiida_mlfc.cli.follow', 'Imaginary modes of a crystal, followed to stable ones.'),
    'report': ('aiida_mlfc.cli.report', 'One self-contained HTML page of everything screened.'),
    'query': ('aiida_mlfc.cli.query', 'Questions to the results: unstable ones, made with, where from.'),
    'export': ('aiida_mlfc.cli.export', 'Screens with their provenance as an AiiDA archive.'),
    'reference': ('aiida_mlfc.cli.reference', 'DFT references: import, list, compute.'),
    'compare': ('aiida_mlfc.cli.compare', 'Force constants against references and potentials.'),
    'potential': ('aiida_mlfc.cli.potential', 'Potentials: list, show, import.'),
}


class LazyGroup(click.Group):
    """A group whose commands are modules."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        return import_module(_COMMANDS[cmd_name][0]).command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section('Commands'):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={'help_option_names': ['-h', '--help']})
@click.version_option(__version__, prog_name='aiida-mlfc')
@click.option(
    '-p', '--profile', metavar='NAME', help='AiiDA profile; by default the default one, made if there is none.'
)
@click.pass_context
def cmd_root(ctx: click.Context, profile: str | None) -> None:
    """Phonons from machine-learned potentials, at scale, with provenance."""
    ctx.obj = {'profile': profile}
