"""Memory that is really refused: tried again with less, then said with numbers, and no other structure suffers."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from ase.build import bulk

from aiida_mlfc.core.potentials.derivatives.memory import free_memory, memory_share
from aiida_mlfc.exchange.results import read_result
from aiida_mlfc.runner import work
from aiida_mlfc.runner.out_of_memory import is_out_of_memory
from aiida_mlfc.runner.run import run_job

#: bytes; more than any machine has
TOO_MUCH = 2**60
CPU = torch.device('cpu')

LIMITED = """
import resource, sys
from pathlib import Path
import numpy, torch, phonopy, spglib, vesin
from aiida_mlfc.core.potentials.registry import load_potential
from aiida_mlfc.runner.run import run_job
import aiida_mlfc.runner.packed_evaluation
used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
limit = used + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(run_job(Path(sys.argv[1])))
"""


def test_a_process_that_may_have_no_more(tmp_path, make_job, silicon, rocksalt):
    """The kernel refuses (RLIMIT_AS): two small crystals have their results, the large one a stated error."""
    large = bulk('NaCl', 'rocksalt', a=5.64, cubic=True) * (9, 9, 9)
    folder = make_job(tmp_path, {'first': silicon, 'large': large, 'last': rocksalt}, 'evaluate')
    done = subprocess.run(
        [sys.executable, '-c', LIMITED, str(folder), str(300_000_000)],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )
    assert done.returncode == 4, done.stderr
    assert [read_result(folder, key)['status'] for key in ('first', 'large', 'last')] == ['ok', 'failed', 'ok']
    error = read_result(folder, 'large')['error']
    assert error['type'] == 'OutOfMemoryError', error
    assert 'MiB were free' in error['message']
    assert 'Wanted: more memory' in error['message']


def test_less_memory_is_tried_before_giving_up(tmp_path, make_job, silicon, rocksalt, monkeypatch):
    """Whatever asks for too much as long as it believes that there is some gets by with the least."""
    original = work.TASKS['force_constants']

    def greedy(inputs, options, model):
        if len(inputs['structure']['numbers']) == 2 and inputs['structure']['numbers'][0] == 14 and free_memory(CPU):
            torch.empty(TOO_MUCH, dtype=torch.uint8)
        return original(inputs, options, model)

    plain = make_job(tmp_path / 'plain', {'Si': silicon, 'NaCl': rocksalt})
    assert run_job(plain) == 0
    monkeypatch.setitem(work.TASKS, 'force_constants', greedy)
    folder = make_job(tmp_path / 'greedy', {'Si': silicon, 'NaCl': rocksalt})
    assert run_job(folder) == 0
    qualities = [read_result(job, 'Si')['data']['quality'] for job in (plain, folder)]
    assert qualities[1]['engine'] == 'qspace'
    from .results_on_disk import force_constants

    np.testing.assert_allclose(force_constants(folder, 'Si'), force_constants(plain, 'Si'), atol=1e-12)


def test_what_never_fits_is_said_with_numbers(tmp_path, make_job, silicon, rocksalt, monkeypatch, capsys):
    original = work.TASKS['force_constants']

    def greedy(inputs, options, model):
        if inputs['structure']['numbers'][0] == 14:
            np.empty(TOO_MUCH, dtype=np.uint8)
        return original(inputs, options, model)

    monkeypatch.setitem(work.TASKS, 'force_constants', greedy)
    folder = make_job(tmp_path, {'Si': silicon, 'NaCl': rocksalt})
    assert run_job(folder) == 4
    error = read_result(folder, 'Si')['error']
    assert error['type'] == 'OutOfMemoryError'
    assert 'also with the least memory' in error['message']
    assert 'Unable to allocate' in error['message']
    assert read_result(folder, 'NaCl')['status'] == 'ok'
    assert 'tried again with the least memory' in capsys.readouterr().err


def test_a_share_of_the_memory():
    everything = free_memory(CPU)
    with memory_share(0.25):
        assert free_memory(CPU) == pytest.approx(everything / 4, rel=0.2)
        with memory_share(0.0):
            assert free_memory(CPU) == 0
    assert free_memory(CPU) == pytest.approx(everything, rel=0.2)


def refused(make):
    try:
        make()
    except (MemoryError, RuntimeError) as error:
        return error
    raise AssertionError('nothing was refused')


def test_who_says_it_does_not_matter():
    assert is_out_of_memory(refused(lambda: torch.empty(TOO_MUCH, dtype=torch.uint8)))
    assert is_out_of_memory(refused(lambda: np.empty(TOO_MUCH, dtype=np.uint8)))
    assert is_out_of_memory(refused(lambda: bytearray(2**62)))
    assert is_out_of_memory(torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB'))
    assert not is_out_of_memory(RuntimeError('the sky is falling'))
    assert not is_out_of_memory(ValueError('out of memory'))
    assert not is_out_of_memory(({}, None))
