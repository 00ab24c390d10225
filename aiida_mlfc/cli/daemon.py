"""The daemon that a command needs while it runs, looked after and, if it was not there, stopped again."""

from __future__ import annotations

import time

import click

from aiida_mlfc.cli.daemon_recovery import (
    forget_connections,
    is_replaced,
    nobody_takes_tasks,
    one_at_a_time,
    recover,
    restart_and_repair,
    running_broker,
    was_killed,
)

#: s that a daemon whose process is there may take to answer: the profile's own timeout first, then once more
_PATIENCE = (None, 60)
#: s that tasks may wait for a worker: it takes a while to start
_TASKS_WAIT = 90.0


class Daemon:
    """The profile's daemon, started if it does not run, and stopped again by whoever started it."""

    def __init__(self) -> None:
        from aiida.engine.daemon.client import get_daemon_client

        self.client = get_daemon_client()
        self.started = False
        #: PIDs of the supervisor and the broker when they were last seen
        self._seen: tuple[int | None, int] | None = None
        self._waits_since: float | None = None

    def is_alive(self) -> bool:
        """Whether the daemon answers; a PID file that a killed daemon or a reboot left behind does not count.

        One whose process is there gets time: on a loaded machine it answers late.
        """
        from aiida.engine.daemon.client import DaemonException, DaemonTimeoutException

        for seconds in _PATIENCE:
            try:
                self.client.get_status(timeout=seconds)
                return True
            except DaemonTimeoutException:
                if self.client.get_daemon_pid() is None or self.client._is_pid_file_stale:
                    return False
            except DaemonException:
                return False
        return False

    def keep_alive(self) -> bool:
        """:meth:`is_alive`, after a daemon that was killed is started again; one that was stopped stays stopped."""
        with one_at_a_time():
            if self.is_alive():
                self._restart_if_deaf()
                return True
            if not was_killed(self.client):
                return False
            click.echo('The daemon was killed: starting it again', err=True)
            self._start()
            return True

    def start(self) -> None:
        """Start one worker unless the daemon runs.

        :raises click.ClickException: if it does not start.
        """
        with one_at_a_time():
            if self.is_alive():
                self._restart_if_deaf()
            else:
                self._start()

    def _start(self) -> None:
        from aiida.common.exceptions import ConfigurationError
        from aiida.engine.daemon.client import DaemonException

        recover(self.client)
        try:
            self.client.start_daemon(number_workers=1)
        except (DaemonException, ConfigurationError, OSError) as error:
            raise _not_started(error) from error
        forget_connections()
        self.started = True

    def _waits_too_long(self) -> bool:
        """Whether tasks have waited, and none was taken, since it was first seen a while ago."""
        if not nobody_takes_tasks():
            self._waits_since = None
        elif self._waits_since is None:
            self._waits_since = time.monotonic()
        elif time.monotonic() - self._waits_since > _TASKS_WAIT:
            self._waits_since = None
            return True
        return False

    def _restart_if_deaf(self) -> None:
        """Start the daemon afresh if its broker died and came back, or if its workers do not hear it."""
        from aiida.common.exceptions import ConfigurationError
        from aiida.engine.daemon.client import DaemonException

        broker, supervisor = running_broker(self.client), self.client.get_daemon_pid()
        if broker is None:
            return
        before, self._seen = self._seen, (supervisor, broker.pid)
        if before is None:
            another = is_replaced(broker, supervisor)
        else:
            another = before[0] == supervisor and before[1] != broker.pid
        if another:
            click.echo('The message broker was killed: starting the daemon afresh', err=True)
        elif self._waits_too_long():
            click.echo('The daemon takes no tasks: starting it afresh', err=True)
        else:
            return
        try:
            restart_and_repair(self.client)
        except (DaemonException, ConfigurationError, OSError) as error:
            raise _not_started(error) from error

    def stop(self) -> None:
        """Stop it if :meth:`start` started it."""
        from aiida.engine.daemon.client import DaemonException

        if self.started:
            try:
                self.client.stop_daemon(wait=True)
            except DaemonException as error:
                click.echo(f'The daemon did not stop in time ({error}); `verdi daemon stop` does it.', err=True)


def _not_started(error: Exception) -> click.ClickException:
    return click.ClickException(f'the daemon does not start: {error}. Try `verdi daemon start`, or --foreground')
