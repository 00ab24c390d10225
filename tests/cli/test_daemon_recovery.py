"""Programs that a killed daemon left behind are told from everybody else's."""

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from aiida_mlfc.cli import daemon as daemons
from aiida_mlfc.cli.daemon_recovery import forget_connections, is_replaced, leftovers, nobody_takes_tasks, recover

SLEEP = 'import time; time.sleep(60)'


@pytest.fixture
def left_behind(aiida_profile):
    """A stand-in for a worker of this profile, one of another configuration, and one of another profile."""
    from aiida.manage.configuration import get_config

    processes = [
        subprocess.Popen(
            [sys.executable, '-c', SLEEP, '-p', name, 'daemon', 'worker'], env={**os.environ, 'AIIDA_PATH': path}
        )
        for name, path in (('mine', get_config().dirpath), ('mine', '/elsewhere'), ('other', get_config().dirpath))
    ]
    time.sleep(0.3)
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def test_only_our_own(left_behind, capsys):
    profile = SimpleNamespace(name='mine', process_control_backend=None)
    cleaned = []
    client = SimpleNamespace(
        profile=profile,
        circus_socket_file='/nowhere/circus.sockets',
        _clean_potentially_stale_pid_file=lambda: cleaned.append(True),
    )
    assert [process.pid for process in leftovers(client)] == [left_behind[0].pid]
    recover(client)
    assert left_behind[0].poll() is not None
    assert [process.poll() for process in left_behind[1:]] == [None, None]
    assert f'Ending PID {left_behind[0].pid}' in capsys.readouterr().err
    assert leftovers(client) == []
    assert cleaned == [True]


def test_a_broker_that_came_later(monkeypatch):
    """A broker is younger than its supervisor by a moment, unless it was killed and brought back."""
    import psutil

    monkeypatch.setattr('aiida_mlfc.cli.daemon_recovery._BROKER_COMES_WITHIN', 0.3)
    command = [sys.executable, '-c', SLEEP]
    with (
        subprocess.Popen(command) as supervisor,
        subprocess.Popen(command) as first,
        subprocess.Popen(['sh', '-c', 'true']) as gone,
    ):
        time.sleep(0.6)
        with subprocess.Popen(command) as second:
            gone.wait()
            assert not is_replaced(psutil.Process(first.pid), supervisor.pid)
            assert is_replaced(psutil.Process(second.pid), supervisor.pid)
            assert not is_replaced(psutil.Process(second.pid), gone.pid)
            assert not is_replaced(psutil.Process(second.pid), None)
            for process in (supervisor, first, second):
                process.kill()


def test_the_daemon_is_started_afresh_once_for_each_broker_that_died(aiida_profile, monkeypatch):
    seen = SimpleNamespace(supervisor=1, broker=2, is_young=False, is_stuck=False, restarts=0)

    def restart(client):
        seen.supervisor, seen.broker, seen.is_young = seen.supervisor + 10, seen.broker + 10, False
        seen.restarts += 1

    monkeypatch.setattr(daemons, 'restart_and_repair', restart)
    monkeypatch.setattr(daemons, 'running_broker', lambda client: SimpleNamespace(pid=seen.broker))
    monkeypatch.setattr(daemons, 'is_replaced', lambda broker, supervisor: seen.is_young)
    monkeypatch.setattr(daemons, 'nobody_takes_tasks', lambda: seen.is_stuck)
    monkeypatch.setattr(daemons, '_TASKS_WAIT', 0.2)
    daemon = daemons.Daemon()
    daemon.client = SimpleNamespace(get_status=lambda timeout: None, get_daemon_pid=lambda: seen.supervisor)
    daemon.start()
    assert daemon.keep_alive()
    assert seen.restarts == 0
    # It dies while we watch: only its PID tells at first.
    seen.broker = 3
    assert daemon.keep_alive()
    assert seen.restarts == 1
    assert daemon.keep_alive()
    assert seen.restarts == 1
    # Somebody else restarts the whole daemon: nothing is wrong with it.
    seen.supervisor, seen.broker = 50, 51
    assert daemon.keep_alive()
    assert seen.restarts == 1
    # It died before we looked.
    seen.is_young = True
    daemons.Daemon.start(daemon)
    assert seen.restarts == 1, 'it was the same when it was last looked at'
    daemon._seen = None
    daemon.start()
    assert seen.restarts == 2
    # Tasks may wait for a moment.
    seen.is_stuck = True
    assert daemon.keep_alive()
    seen.is_stuck = False
    assert daemon.keep_alive()
    seen.is_stuck = True
    time.sleep(0.3)
    assert daemon.keep_alive()
    assert seen.restarts == 2
    time.sleep(0.3)
    assert daemon.keep_alive()
    assert seen.restarts == 3


def test_the_address_of_a_killed_broker_is_forgotten(aiida_profile, tmp_path, monkeypatch):
    """A worker that read it would wait there for ever; that of a broker that runs stays."""
    from aiida.manage import get_manager

    sockets = tmp_path / 'aiida_zeromq_xyz'
    alive = SimpleNamespace(answer=True)
    broker = SimpleNamespace(
        check_service_reachable=lambda: alive.answer, _get_sockets_path=lambda: sockets,
        _service_sockets_file=tmp_path / 'broker.sockets', _service_pid_file=tmp_path / 'broker.pid',
        _storage_path=tmp_path,
    )  # fmt: skip
    monkeypatch.setattr(type(get_manager()), 'get_broker', lambda self: broker)
    monkeypatch.setattr('aiida_mlfc.cli.daemon_recovery.repair', lambda client: None)
    sockets.mkdir()
    for name in ('broker.sockets', 'broker.pid', 'tasks/pending/1.json', 'tasks/processing/2.json'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    profile = SimpleNamespace(name='mine', process_control_backend='core.zeromq', process_control_config={})
    client = SimpleNamespace(
        profile=profile, circus_socket_file='/nowhere', _clean_potentially_stale_pid_file=lambda: None
    )
    recover(client)
    assert (tmp_path / 'broker.sockets').exists()
    alive.answer = False
    profile.process_control_config['supervised_by_daemon'] = False
    recover(client)
    assert (tmp_path / 'broker.sockets').exists()
    profile.process_control_config.clear()
    recover(client)
    assert not any((tmp_path / name).exists() for name in ('broker.sockets', 'broker.pid', 'aiida_zeromq_xyz'))
    assert not nobody_takes_tasks()
    (tmp_path / 'tasks/processing/2.json').unlink()
    assert nobody_takes_tasks()


def test_a_late_answer_is_no_death(aiida_profile):
    from aiida.engine.daemon.client import DaemonException, DaemonNotRunningException, DaemonTimeoutException

    asked = []

    def status(timeout, kinds):
        asked.append(timeout)
        if kinds:
            raise kinds.pop(0)

    daemon = daemons.Daemon()

    def answers(*kinds):
        left = list(kinds)
        daemon.client = SimpleNamespace(
            get_status=lambda timeout: status(timeout, left), get_daemon_pid=lambda: 1, _is_pid_file_stale=False
        )
        return daemon.is_alive()

    assert answers()
    assert answers(DaemonTimeoutException('late'))
    assert asked[-1] == 60
    assert not answers(DaemonTimeoutException('late'), DaemonTimeoutException('very late'))
    assert not answers(DaemonNotRunningException('no'))
    assert not answers(DaemonException('broken'))


def test_connections_are_made_anew(aiida_profile):
    from aiida.manage import get_manager

    runner = get_manager().get_runner()
    forget_connections()
    assert get_manager().get_runner() is not runner
    assert not get_manager().get_runner().loop.is_closed()
