"""The profile, computer and code that a command works with: the user's where there are some, else our own."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import click

#: name of the profile that is made where there is none
PROFILE = 'mlfc'
COMPUTER, CODE = 'localhost', 'mlfc-run'
#: s; the daemon answers late on a busy machine
DAEMON_TIMEOUT = 30


def load_or_create_profile(name: str | None) -> Any:
    """Load a profile; make a service-free one (sqlite, ZeroMQ broker) where there is none at all.

    :param name: of the profile, or None for the default one.
    :raises click.BadParameter: if a named profile does not exist.
    """
    _use_own_verdi()
    from aiida.manage.configuration import create_profile, get_config, load_profile
    from aiida.plugins import BrokerFactory

    config = get_config(create=True)
    if name is not None and name not in config.profile_names:
        known = ', '.join(config.profile_names) or 'none'
        raise click.BadParameter(f'there is no profile {name!r}; there are: {known}', param_hint='--profile')
    if name is None and not config.profile_names:
        click.echo(
            f'No AiiDA profile: making {PROFILE!r} in {config.dirpath} (sqlite, ZeroMQ broker, no services)', err=True
        )
        create_profile(
            config,
            name=PROFILE,
            email='mlfc@localhost',
            first_name='aiida',
            last_name='mlfc',
            institution='local',
            storage_backend='core.sqlite_dos',
            storage_config={},
            broker_backend='core.zeromq',
            broker_config=BrokerFactory('core.zeromq').get_default_config(),
        )
        config.set_default_profile(PROFILE, overwrite=True)
        config.set_option('runner.poll.interval', 1, scope=PROFILE)
        config.set_option('daemon.timeout', DAEMON_TIMEOUT, scope=PROFILE)
        # An interrupted screen that is started anew takes finished jobs from the cache.
        config.set_option('caching.enabled_for', ['aiida.calculations:mlfc.*'], scope=PROFILE)
        config.store()
    return load_profile(name)


def _use_own_verdi() -> None:
    """Put this environment first on the PATH: AiiDA looks ``verdi`` up there, once, when it is imported.

    Without it an environment that is called by path, not activated, has no daemon, or another environment's.
    """
    here = Path(sys.executable).parent
    if (here / 'verdi').exists() and Path(shutil.which('verdi') or '').parent != here:
        os.environ['PATH'] = f'{here}{os.pathsep}{os.environ.get("PATH", "")}'


def load_or_create_code(label: str | None) -> Any:
    """The ``mlfc-run`` code: the user's, or one on this machine.

    :param label: of an existing code, ``mlfc-run@cluster``; None for the local one, made if it is not there.
    :raises click.BadParameter: if a named code does not exist.
    """
    from aiida.common.exceptions import NotExistent
    from aiida.orm import Computer, InstalledCode, load_code, load_computer

    if label is not None:
        try:
            return load_code(label)
        except NotExistent as error:
            raise click.BadParameter(f'{error}; `verdi code list` shows what there is', param_hint='--code') from error
    try:
        return load_code(f'{CODE}@{COMPUTER}')
    except NotExistent:
        pass
    try:
        computer = load_computer(COMPUTER)
    except NotExistent:
        from aiida.manage.configuration import get_config, get_profile

        scratch = Path(get_config().dirpath) / 'scratch' / get_profile().name
        computer = Computer(
            label=COMPUTER,
            hostname='localhost',
            description='This machine',
            transport_type='core.local',
            scheduler_type='core.direct',
            workdir=str(scratch),
        ).store()
        computer.configure(safe_interval=0)
        computer.set_minimum_job_poll_interval(1)
        computer.set_default_mpiprocs_per_machine(1)
    beside = Path(sys.executable).with_name('mlfc-run')
    program = beside if beside.exists() else shutil.which('mlfc-run')
    if program is None:
        raise click.ClickException('mlfc-run is not on the PATH; is the package installed in this environment?')
    code = InstalledCode(
        label=CODE,
        computer=computer,
        filepath_executable=str(program),
        default_calc_job_plugin='mlfc.force_constants',
        use_double_quotes=False,
    )
    return code.store()


def has_broker() -> bool:
    """Whether the loaded profile has a message broker, without which nothing can be submitted."""
    from aiida.manage import get_manager

    return get_manager().get_broker() is not None
