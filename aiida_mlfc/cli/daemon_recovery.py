"""After a crash: what a killed daemon left running is ended, and every unfinished process gets its task back."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import click

#: s; ``verdi process repair`` loads AiiDA and asks the database once
_REPAIR_PATIENCE = 300
#: subcommands of ``verdi daemon`` that are parts of a daemon
_PARTS = ('worker', 'broker', 'start-circus')


def was_killed(client: Any) -> bool:
    """Whether the daemon ended without being told to: its PID file is there, its process is not."""
    return client.get_daemon_pid() is not None and bool(client._is_pid_file_stale)


def recover(client: Any) -> None:
    """Make the profile ready for a new daemon; to be called while the old one does not answer.

    Workers outlive the daemon that kept them: two of them would then work on the same processes.
    """
    for process in leftovers(client):
        click.echo(f'Ending PID {process.pid}, left behind by a daemon that was killed', err=True)
        _end(process)
    # Its PID file would have `verdi process repair` believe that it still runs.
    client._clean_potentially_stale_pid_file()
    repair(client)


def leftovers(client: Any) -> list[Any]:
    """Workers, brokers and supervisors of this very profile and configuration that still run, of this user."""
    import psutil
    from aiida.manage.configuration import get_config

    found = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            part = any(
                command[k : k + 4] == ['-p', client.profile.name, 'daemon', name]
                for k in range(len(command))
                for name in _PARTS
            )
            # circus has a helper of its own; it is told by the folder of its sockets
            sockets = Path(client.circus_socket_file)
            helper = any('from circus import stats' in word for word in command) and (
                sockets.exists() and any(sockets.read_text().strip() in word for word in command)
            )
            if helper or (part and process.environ().get('AIIDA_PATH') == get_config().dirpath):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def _end(process: Any) -> None:
    import psutil

    try:
        process.kill()
        process.wait(timeout=10)
    except psutil.NoSuchProcess:
        pass


def repair(client: Any) -> None:
    """Tasks for processes that have none, with AiiDA's own command; ZeroMQ only, RabbitMQ keeps its tasks itself."""
    from aiida.engine.processes.control import get_active_processes

    if client.profile.process_control_backend != 'core.zeromq' or not get_active_processes(project='id'):
        return
    done = subprocess.run(
        [client._verdi_bin, '-p', client.profile.name, 'process', 'repair', '--force'],
        env=client.get_env(), capture_output=True, text=True, timeout=_REPAIR_PATIENCE, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise click.ClickException(f'`verdi process repair` failed: {done.stdout[-500:]}{done.stderr[-500:]}')


def reconnect_workers(client: Any) -> None:
    """Restart workers that are older than the broker: one that was killed comes back at another address."""
    import psutil
    from aiida.manage import get_manager

    if client.profile.process_control_backend != 'core.zeromq':
        return
    broker = get_manager().get_broker()
    pid = broker._get_service_pid()
    try:
        born = psutil.Process(pid).create_time() if pid is not None else None
        workers = [psutil.Process(int(worker)).create_time() for worker in client.get_worker_info().get('info', {})]
    except psutil.NoSuchProcess:
        # somebody dies or comes back just now; the next look will see it
        return
    if born is not None and any(worker < born for worker in workers):
        click.echo('The broker was restarted: restarting the workers', err=True)
        client.restart_daemon(wait=True)
