"""``mlfc-run`` killed at any moment, terminated, on a full disk: what is there is whole, the next run does the rest."""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from aiida_mlfc.core.checkpoint_header import sha256_of
from aiida_mlfc.exchange.job import fingerprint, read_job
from aiida_mlfc.runner.run import run_job

from .results_on_disk import force_constants, stamps

COMMAND = [sys.executable, '-m', 'aiida_mlfc.runner.run']


def start(folder: Path, **keywords) -> subprocess.Popen:
    return subprocess.Popen([*COMMAND, str(folder)], stderr=subprocess.PIPE, text=True, **keywords)


def run_to_the_end(folder: Path) -> list[str]:
    """Run in a process of its own; its progress lines."""
    process = start(folder)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return [line for line in errors.splitlines() if line.startswith('[')]


def test_killed_at_any_moment(tmp_path, make_job, silicon, rocksalt):
    """SIGKILL and SIGTERM while it computes, then on to the end: same bits, nothing twice, nothing half."""
    crystals = {f'Si{k}': bulk('Si', 'diamond', a=5.40 + 0.01 * k) for k in range(4)}
    crystals |= {f'NaCl{k}': bulk('NaCl', 'rocksalt', a=5.60 + 0.01 * k) for k in range(4)}
    whole = make_job(tmp_path / 'whole', crystals, supercell_matrix=[3, 3, 3])
    assert run_job(whole) == 0

    broken = make_job(tmp_path / 'broken', crystals, supercell_matrix=[3, 3, 3])
    seen: dict[str, tuple[int, int]] = {}
    interrupted = []
    for signum in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        process = start(broken)
        for line in process.stderr:
            if line.startswith('['):
                break
        time.sleep(random.uniform(0, 0.15))
        process.send_signal(signum)
        errors = process.stderr.read()
        process.wait(timeout=60)
        process.stderr.close()
        now = stamps(broken)
        assert seen.items() < now.items()
        seen = now
        if len(seen) == len(crystals):
            break
        interrupted.append(signum)
        assert process.returncode == (143 if signum == signal.SIGTERM else -signum)
        assert not (broken / 'results.json').exists()
        assert ('stopped by SIGTERM' in errors) == (signum == signal.SIGTERM)
    assert interrupted
    assert len(run_to_the_end(broken)) == len(crystals) - len(seen)
    final = stamps(broken)
    assert seen.items() <= final.items()
    for key in crystals:
        np.testing.assert_array_equal(force_constants(broken, key).view('u1'), force_constants(whole, key).view('u1'))
    assert sorted(os.listdir(broken / 'results')) == sorted(crystals)


def test_killed_between_files(tmp_path, make_job, crystals, monkeypatch):
    """Stopped inside a commit: the half-written folder has another name, and is swept away by the next run."""
    folder = make_job(tmp_path, crystals)
    monkeypatch.setattr('aiida_mlfc.exchange.results.os.replace', lambda *names: sys.exit(137))
    with pytest.raises(SystemExit):
        run_job(folder)
    assert sorted(p.name for p in (folder / 'results').iterdir()) == ['.Si.partial', '.running']
    monkeypatch.undo()
    assert run_job(folder) == 0
    assert sorted(p.name for p in (folder / 'results').iterdir()) == ['NaCl', 'Si']


@pytest.mark.parametrize('limit', [3_000, 9_000])
def test_full_disk(tmp_path, make_job, silicon, rocksalt, limit):
    """No file may grow beyond a limit, at first that of the force constants, then that of the text beside them."""
    folder = make_job(tmp_path, {'first': silicon, 'second': rocksalt})
    from aiida_mlfc.exchange.results import write_result

    first = {
        'status': 'ok',
        'fingerprint': fingerprint(folder, read_job(folder), 'first', sha256_of(folder / 'potential.safetensors')),
    }
    write_result(folder, 'first', first)
    before = stamps(folder)
    process = start(folder, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 5, errors
    assert 'results cannot be written' in errors
    assert 'Traceback' not in errors
    assert stamps(folder) == before
    assert not (folder / 'results.json').exists()
    assert run_job(folder) == 0
    assert set(stamps(folder)) == {'first', 'second'}


def test_terminated_before_the_first_structure(tmp_path, make_job, silicon):
    process = start(make_job(tmp_path, {'Si': silicon}))
    assert 'done already' in process.stderr.readline()
    process.terminate()
    assert process.wait(timeout=60) == 143
    process.stderr.close()
