"""After a crash: what a killed daemon left running is ended, and every unfinished process gets its task back."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

#: s; ``verdi process repair`` loads AiiDA and asks the database once
_REPAIR_PATIENCE = 300
#: s; a supervisor starts its broker before anything else
_BROKER_COMES_WITHIN = 5.0
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
    _forget_address(client)
    repair(client)


def _forget_address(client: Any) -> None:
    """Remove what says where a killed broker was: a worker that starts before the next one would wait there."""
    if not _keeps_broker(client):
        return
    from aiida.manage import get_manager

    broker = get_manager().get_broker()
    if broker is not None and not broker.check_service_reachable():
        sockets = broker._get_sockets_path()
        if sockets is not None and sockets.name.startswith('aiida_zeromq_'):
            shutil.rmtree(sockets, ignore_errors=True)
        for file in (broker._service_sockets_file, broker._service_pid_file):
            file.unlink(missing_ok=True)


def _keeps_broker(client: Any) -> bool:
    """Whether the broker is ZeroMQ's and the daemon's own."""
    profile = client.profile
    return profile.process_control_backend == 'core.zeromq' and bool(
        profile.process_control_config.get('supervised_by_daemon', True)
    )


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


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """For commands that look after the same daemon: one that restarts it is not to be taken for its end by another."""
    from aiida.manage.configuration import get_config

    with (Path(get_config().dirpath) / 'mlfc-daemon.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def running_broker(client: Any) -> Any | None:
    """The process of the ZeroMQ broker that the daemon keeps; None while there is none, and for any other broker."""
    import psutil
    from aiida.manage import get_manager

    broker = get_manager().get_broker()
    if not _keeps_broker(client) or broker is None:
        return None
    pid = broker._get_service_pid()
    try:
        return psutil.Process(pid) if pid is not None and broker.check_service_reachable() else None
    except psutil.NoSuchProcess:
        # it dies just now; the next look will see the next one
        return None


def is_replaced(broker: Any, supervisor_pid: int | None) -> bool:
    """Whether a broker is not the one that the daemon was started with.

    The supervisor brings a killed broker back at another address, without what was on its way to the old one: workers
    wait at the old address, and processes that were just submitted stand still as "Created", without a task.
    """
    import psutil

    try:
        return bool(
            supervisor_pid is not None
            and broker.create_time() > psutil.Process(supervisor_pid).create_time() + _BROKER_COMES_WITHIN
        )
    except psutil.NoSuchProcess:
        return False


def nobody_takes_tasks() -> bool:
    """Whether tasks wait at the ZeroMQ broker and none is with a worker. One worker takes two hundred at once."""
    from aiida.manage import get_manager

    tasks = get_manager().get_broker()._storage_path / 'tasks'
    return any((tasks / 'pending').glob('*.json')) and not any((tasks / 'processing').glob('*.json'))


def restart_and_repair(client: Any) -> None:
    """Stop the daemon, give every unfinished process its task, start as many workers as there were.

    :raises DaemonException: if it does not start.
    """
    from aiida.engine.daemon.client import DaemonException

    workers = 1
    try:
        workers = max(1, int(client.get_numprocesses().get('numprocesses', 1)))
        client.stop_daemon(wait=True)
    except DaemonException as error:
        # what does not stop is ended by the recovery
        click.echo(f'The daemon does not stop: {error}', err=True)
    recover(client)
    client.start_daemon(number_workers=workers)
    forget_connections()


def forget_connections() -> None:
    """Close what this process has to a broker that is gone: a task sent there is lost without an error."""
    from aiida.manage import get_manager

    get_manager().reset_runner()
    get_manager().reset_broker()


def give_task(process: Any) -> None:
    """Send the task of a process once more that may have lost it: its command was killed before it could be sent.

    If it has one, the worker that has the process drops the second.
    """
    from aiida.manage import get_manager

    get_manager().get_process_controller().continue_process(process.pk, nowait=False, no_reply=True)
