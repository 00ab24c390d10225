"""Several processes on one job folder: the same numbers, nothing twice, nothing lost, each with its part of a node."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase.build import bulk

from aiida_mlfc.exchange.job import JobFileError, check_workers
from aiida_mlfc.exchange.marks import attempts_by_key
from aiida_mlfc.exchange.results import read_result
from aiida_mlfc.runner.claims import Claims
from aiida_mlfc.runner.plan import read_plan
from aiida_mlfc.runner.run import run_job
from aiida_mlfc.runner.slots import VISIBLE, n_cores, slots, visible_gpus
from aiida_mlfc.runner.workers import Crew, share_of

COMMAND = [sys.executable, '-m', 'aiida_mlfc.runner.run']


@pytest.fixture
def crystals():
    found = {f'Si{k}': bulk('Si', 'diamond', a=5.40 + 0.01 * k) for k in range(4)}
    return found | {f'NaCl{k}': bulk('NaCl', 'rocksalt', a=5.60 + 0.01 * k) for k in range(4)}


def start(folder, workers='2', **environment):
    return subprocess.Popen(
        [*COMMAND, str(folder), '--workers', workers],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def children_of(pid):
    found = subprocess.run(['ps', '-o', 'pid=', '--ppid', str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


def test_the_numbers_of_one_process(tmp_path, make_job, crystals):
    alone, many = (make_job(tmp_path / name, crystals) for name in ('alone', 'many'))
    assert run_job(alone) == 0
    process = start(many)
    errors = ''
    for line in process.stderr:
        errors += line
        if line.startswith('['):
            break
    # what each worker really has, from the outside, while it runs
    threads = set()
    for pid in children_of(process.pid):
        entries = Path(f'/proc/{pid}/environ').read_text().split('\0')
        threads |= {entry for entry in entries if entry.startswith('OMP_NUM_THREADS=')}
    errors += process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=120) == 0, errors
    assert threads == {f'OMP_NUM_THREADS={max(1, n_cores() // 2)}'}
    for key in crystals:
        arrays = []
        for folder in (alone, many):
            with h5py.File(folder / 'results' / key / 'force_constants.hdf5') as handle:
                arrays.append(handle['force_constants'][...])
        # the number of threads decides in which order sums are made
        np.testing.assert_allclose(arrays[0], arrays[1], rtol=0, atol=1e-13)
    assert sorted(os.listdir(many / 'results')) == sorted(crystals)
    assert (many / 'results.json').read_text() == (alone / 'results.json').read_text()
    progress = [line for line in errors.splitlines() if line.startswith('[')]
    assert [line.split()[0] for line in progress] == [f'[{k + 1}/8]' for k in range(8)]
    assert sorted(line.split()[1] for line in progress) == sorted(crystals)
    assert {line[-2] for line in progress} <= {'0', '1'}


def test_a_batched_task_whose_job_asks_for_workers(tmp_path, make_job, crystals, capfd):
    alone, many = (make_job(tmp_path / name, crystals, 'evaluate') for name in ('alone', 'many'))
    assert run_job(alone) == 0
    with (many / 'job.yaml').open('a') as handle:
        handle.write('execution: {workers: 2}\n')
    assert run_job(many) == 0
    assert '2 worker(s)' in capfd.readouterr().err
    for key in crystals:
        energies = [read_result(folder, key)['data']['energy'] for folder in (alone, many)]
        assert energies[0] == pytest.approx(energies[1], abs=1e-11)
    # run in another way it is the same job
    make_job(many, crystals, 'evaluate')
    assert run_job(many) == 0
    assert '8 done already' in capfd.readouterr().err


def test_a_killed_worker_loses_nothing(tmp_path, make_job, crystals):
    folder = make_job(tmp_path, crystals, supercell_matrix=[3, 3, 3])
    process = start(folder, OMP_NUM_THREADS='1')
    for line in process.stderr:
        if line.startswith('['):
            break
    os.kill(children_of(process.pid)[0], signal.SIGKILL)
    errors = process.stderr.read()
    assert process.wait(timeout=120) == 0, errors
    process.stderr.close()
    assert 'a worker was killed by SIGKILL' in errors
    assert {read_result(folder, key)['status'] for key in crystals} == {'ok'}
    assert json.loads((folder / 'results.json').read_text())['failed'] == []


@pytest.mark.parametrize('signum', [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_supervisor(tmp_path, make_job, crystals, signum):
    folder = make_job(tmp_path, crystals, supercell_matrix=[4, 4, 4])
    process = start(folder, OMP_NUM_THREADS='1')
    for line in process.stderr:
        if line.startswith('['):
            break
    workers = children_of(process.pid)
    assert len(workers) == 2
    process.send_signal(signum)
    process.stderr.close()
    assert process.wait(timeout=60) == (143 if signum == signal.SIGTERM else -signum)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and any(os.path.exists(f'/proc/{pid}') for pid in workers):
        time.sleep(0.05)
    assert not any(os.path.exists(f'/proc/{pid}') for pid in workers)
    assert not (folder / 'results.json').exists()
    # those that were in progress are not to blame
    assert all(counts['killed'] == 0 for counts in attempts_by_key(folder / 'results', crystals).values())


def test_two_jobs_on_one_folder(tmp_path, make_job, crystals):
    """Started twice by mistake: they share the work, and both end well."""
    folder = make_job(tmp_path, crystals)
    processes = [start(folder, '1') for _ in range(2)]
    outputs = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    done = [line.split()[1] for text in outputs for line in text.splitlines() if line.startswith('[')]
    assert sorted(done) == sorted(crystals)


def test_a_bad_potential_is_said_once_and_ends_it(tmp_path, make_job, crystals, capfd):
    folder = make_job(tmp_path, crystals)
    (folder / 'potential.safetensors').write_bytes(b'garbage' * 100)
    assert run_job(folder, 2) == 3
    assert 'mlfc-run: potential: ' in capfd.readouterr().err


def test_nothing_in_the_job_folder_is_imported(tmp_path, make_job, crystals):
    """``mlfc-run .`` starts workers in the job folder: a module that lies there is data."""
    folder = make_job(tmp_path, dict(list(crystals.items())[:2]))
    for name in ('numpy', 'torch', 'yaml', 'h5py', 'sitecustomize', 'aiida_mlfc', 'usercustomize'):
        (folder / f'{name}.py').write_text(f'open({str(tmp_path / "executed")!r}, "w")')
    code = 'from aiida_mlfc.runner.run import main; main([".", "--workers", "2"])'
    process = subprocess.run([sys.executable, '-P', '-c', code], cwd=folder, check=False, timeout=120)
    assert process.returncode == 0
    assert not (tmp_path / 'executed').exists()


def test_each_gpu_has_one_worker():
    found = slots('auto', 'cuda', 10, {'CUDA_VISIBLE_DEVICES': 'GPU-a,3, 5'})
    assert [slot.environment for slot in found] == [{'CUDA_VISIBLE_DEVICES': name} for name in ('GPU-a', '3', '5')]
    assert len(slots('auto', 'cuda', 2, {'CUDA_VISIBLE_DEVICES': '0,1,2,3'})) == 2
    assert [s.environment['CUDA_VISIBLE_DEVICES'] for s in slots(4, 'cuda', 9, {'CUDA_VISIBLE_DEVICES': '0,1'})] == [
        '0',
        '1',
        '0',
        '1',
    ]
    with pytest.raises(JobFileError, match='no GPU is visible'):
        slots('auto', 'cuda', 2, {'CUDA_VISIBLE_DEVICES': ''})
    with pytest.raises(JobFileError, match='a GPU of its own'):
        slots('auto', 'cuda:1', 2, {'CUDA_VISIBLE_DEVICES': '0,1'})
    assert visible_gpus({'CUDA_VISIBLE_DEVICES': '-1'}) == []


def test_memory_is_shared_by_those_on_one_device():
    """Each GPU to itself: all of it; three on two GPUs: halves of the first; on cores: equal parts of one memory."""

    def shares(workers, device, visible='0,1'):
        places = slots(workers, device, 99, {VISIBLE: visible})
        return [share_of(place, places) for place in places]

    assert shares('auto', 'cuda', '0,1,2,3') == [1.0] * 4
    assert shares(3, 'cuda') == [0.5, 1.0, 0.5]
    assert shares(4, 'cpu') == [0.25] * 4


def test_a_worker_is_told_its_share(tmp_path, make_job, silicon, monkeypatch):
    """What is started, for two workers with a GPU each."""
    given = []

    class Ended:
        stderr, pid, returncode = iter(()), 0, 0

        def __init__(self, command, **settings):
            given.append((settings['env'][VISIBLE], command[command.index('--share') + 1]))

        def poll(self):
            return 0

    folder = make_job(tmp_path, {'Si': silicon})
    monkeypatch.setattr('aiida_mlfc.runner.workers.subprocess.Popen', Ended)
    Crew(read_plan(folder)).work('untried', slots(2, 'cuda', 9, {VISIBLE: '0,1'}))
    assert given == [('0', '1.0'), ('1', '1.0')]


def test_cores_are_shared_out(monkeypatch):
    monkeypatch.setattr('os.sched_getaffinity', lambda pid: set(range(8)))
    assert n_cores({}) == 8
    assert n_cores({'SLURM_CPUS_PER_TASK': '4'}) == 4
    assert n_cores({'SLURM_CPUS_PER_TASK': 'x'}) == 8
    assert [slot.environment['OMP_NUM_THREADS'] for slot in slots(3, 'cpu', 99, {})] == ['2'] * 3
    assert len(slots('auto', 'cpu', 99, {})) == 8
    assert [slot.environment['MKL_NUM_THREADS'] for slot in slots('auto', 'cpu', 2, {})] == ['4', '4']


@pytest.mark.parametrize('workers', [0, -1, '0', 'all', True, '1e3', 1.0, [2], '²', 10**6])
def test_numbers_of_workers_that_are_none(workers):
    with pytest.raises(JobFileError, match='wanted a number'):
        check_workers(workers)


def test_claims_exclude_each_other(tmp_path):
    first, second = (Claims(tmp_path, {'a': 'f', 'b': 'f'}) for _ in range(2))
    second.me = second.me | {'pid': os.getppid(), 'start': _start_of_parent()}
    assert first.claim('a', alone=True)
    assert not second.claim('a', alone=True)
    assert second.claim('b', alone=True)
    assert not first.claim('b', alone=True)
    assert first.histories() == {'a': None, 'b': None}
    first.release('a')
    assert second.claim('a', alone=True)


def _start_of_parent():
    from aiida_mlfc.runner.owner import _start_of

    return _start_of(os.getppid())


def test_a_claim_of_another_machine_lives_as_long_as_it_is_touched(tmp_path):
    mine, other = (Claims(tmp_path, {'a': 'f'}) for _ in range(2))
    other.me = other.me | {'host': 'elsewhere', 'pid': 1}
    assert other.claim('a', alone=True)
    assert not mine.claim('a', alone=True)
    path = tmp_path / 'results' / '.running' / 'a.0'
    os.utime(path, (time.time() - 3600,) * 2)
    assert mine.claim('a', alone=True)
    assert [p.name for p in sorted(path.parent.iterdir())] == ['a.0', 'a.1']


def test_a_copied_claim_belongs_to_nobody(tmp_path):
    from shutil import copytree

    first = Claims(tmp_path / 'first', {'a': 'f'})
    assert first.claim('a', alone=True)
    copytree(tmp_path / 'first', tmp_path / 'second')
    second = Claims(tmp_path / 'second', {'a': 'f'})
    assert second.histories()['a'].rank == (1, 0, 0)
    assert second.claim('a', alone=True)
