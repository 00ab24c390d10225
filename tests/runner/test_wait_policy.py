"""What the OpenMP runtimes of ``mlfc-run`` and of its workers read from their environment, as they print it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ase.build import bulk

from aiida_mlfc.exchange.results import read_result


def policies(folder, *arguments, **environment):
    """What each runtime that was loaded says of its waiting threads; only GNU's and LLVM's print it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(('OMP_', 'GOMP_', 'KMP_'))}
    done = subprocess.run(
        [Path(sys.executable).with_name('mlfc-run'), folder, *arguments], capture_output=True, text=True, check=False,
        env={**clean, 'OMP_NUM_THREADS': '1', 'OMP_DISPLAY_ENV': 'true', **environment}, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert read_result(folder, 'Si')['status'] == 'ok'
    return [line.split('=')[1].strip(" '") for line in done.stderr.splitlines() if 'OMP_WAIT_POLICY' in line]


@pytest.fixture
def folder(tmp_path, make_job):
    return make_job(tmp_path / 'job', {'Si': bulk('Si', 'diamond', a=5.43)}, 'evaluate')


def test_threads_that_wait_sleep(folder):
    """In the worker that computes; its supervisor has no such threads."""
    assert set(policies(folder, '--workers', '1')) == {'PASSIVE'}


def test_what_the_user_has_set_wins(folder):
    assert set(policies(folder, OMP_WAIT_POLICY='active')) == {'ACTIVE'}
