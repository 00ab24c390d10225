"""The kernel kills for memory, in a control group with little of it: one crystal is given up, the others are done."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ase.build import bulk

from aiida_mlfc.exchange.marks import MAX_KILLS
from aiida_mlfc.exchange.results import read_result

#: bytes; a worker that has loaded everything takes half of it
LIMIT = 800_000_000
ROOT = Path('/sys/fs/cgroup')


@pytest.fixture
def control_group():
    """A new group with a limit, version 1 or 2; its file that takes processes."""
    is_first = (ROOT / 'memory').is_dir()
    folder = (ROOT / 'memory' if is_first else ROOT) / f'mlfc-test-{os.getpid()}'
    limit = folder / ('memory.limit_in_bytes' if is_first else 'memory.max')
    try:
        folder.mkdir()
        limit.write_text(str(LIMIT))
        swap = folder / ('memory.memsw.limit_in_bytes' if is_first else 'memory.swap.max')
        if swap.exists():
            swap.write_text(str(LIMIT) if is_first else '0')
    except OSError as error:
        if folder.is_dir():
            folder.rmdir()
        pytest.skip(f'control groups of memory cannot be made here: {error}')
    yield folder / 'cgroup.procs'
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and (folder / 'cgroup.procs').read_text():
        time.sleep(0.1)
    folder.rmdir()


def test_out_of_memory_for_real(control_group, tmp_path, make_job, silicon):
    large = bulk('NaCl', 'rocksalt', a=5.64, cubic=True) * (12, 12, 12)
    folder = make_job(tmp_path, {'first': silicon, 'large': large, 'last': bulk('Si', a=5.5)}, 'evaluate')
    done = subprocess.run(
        [sys.executable, '-m', 'aiida_mlfc.runner.run', str(folder), '--workers', '1'],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        preexec_fn=lambda: control_group.write_text(str(os.getpid())),
    )
    assert done.returncode == 4, done.stderr
    assert [read_result(folder, key)['status'] for key in ('first', 'large', 'last')] == ['ok', 'failed', 'ok']
    message = read_result(folder, 'large')['error']['message']
    assert f'killed the process {MAX_KILLS} times when computed alone (SIGKILL): out of memory?' in message
    # what the group had left, not what the machine has
    free = float(message.partition(' MiB were free when it began')[0].rpartition(' ')[2])
    assert free < LIMIT / 2**20
