"""Programs that a killed daemon left behind are told from everybody else's."""

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from aiida_mlfc.cli.daemon_recovery import is_replaced, leftovers, recover

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
