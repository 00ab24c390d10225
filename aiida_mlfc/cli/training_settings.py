"""Settings of a training as options of a command, made from where they are documented."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import click

from aiida_mlfc.exchange.training_options import TrainOptions

#: sections, and what has an option of its own
_NOT_HERE = ('model', 'recipe', 'hold_back')
ON_COMMAND_LINE = tuple(setting.name for setting in fields(TrainOptions) if setting.name not in _NOT_HERE)


def training_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for every setting of :class:`TrainOptions`; None where it is not given."""
    for setting in reversed([s for s in fields(TrainOptions) if s.name in ON_COMMAND_LINE]):
        kind, choices = setting.metadata['kind'], setting.metadata['choices']
        names = [f'--{setting.name}']
        if '_' in setting.name:
            names.append(f'--{setting.name.replace("_", "-")}')
        more: dict[str, Any] = {'type': click.Choice(choices) if choices else kind}
        if kind is bool:
            more = {'is_flag': True}
            if setting.default is True:
                names = [f'{name}/--no-{name[2:]}' for name in names]
        elif kind is list:
            more = {'multiple': True, 'metavar': 'NAME'}
        unsaid = setting.name == 'name' or setting.default in (None, '', False, 0)
        shown = '' if unsaid else f' [default: {setting.default}]'
        option = click.option(
            *names, setting.name, default=() if kind is list else None, help=setting.metadata['help'] + shown, **more
        )
        command = option(command)
    return command
