"""Free memory is the smallest of what system, container and job leave."""

import numpy as np
import pytest
import torch

from aiida_mlfc.core.potentials.derivatives.memory import free_memory, peak_memory, reset_peak

CPU = torch.device('cpu')


def written(root, **files):
    for name, text in files.items():
        path = root / name.replace('__', '/')
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_this_machine_has_some():
    assert 0 < free_memory(CPU) < float('inf')


def test_nothing_known_is_no_limit(tmp_path):
    assert free_memory(CPU, tmp_path) == float('inf')


def test_system(tmp_path):
    written(tmp_path, proc__meminfo='MemTotal: 4096 kB\nMemAvailable:   2048 kB\n')
    assert free_memory(CPU, tmp_path) == 2048 * 1024


def test_container_of_version_2(tmp_path):
    written(tmp_path, proc__meminfo='MemAvailable:   2048 kB\n')
    group = tmp_path / 'sys' / 'fs' / 'cgroup'
    group.mkdir(parents=True)
    (group / 'memory.max').write_text('max\n')
    (group / 'memory.current').write_text('500\n')
    assert free_memory(CPU, tmp_path) == 2048 * 1024
    (group / 'memory.max').write_text('1500\n')
    assert free_memory(CPU, tmp_path) == 1000
    # the group of the process itself comes before the outermost one
    written(tmp_path, proc__self__cgroup='0::/slurm/job_1\n')
    own = group / 'slurm' / 'job_1'
    own.mkdir(parents=True)
    (own / 'memory.max').write_text('800\n')
    (own / 'memory.current').write_text('900\n')
    assert free_memory(CPU, tmp_path) == 0


def test_container_of_version_1(tmp_path):
    group = tmp_path / 'sys' / 'fs' / 'cgroup' / 'memory' / 'docker'
    group.mkdir(parents=True)
    (group / 'memory.limit_in_bytes').write_text('3000')
    (group / 'memory.usage_in_bytes').write_text('1000')
    written(tmp_path, proc__self__cgroup='4:cpu,memory:/docker\n')
    assert free_memory(CPU, tmp_path) == 2000


def test_peak_is_that_of_what_ran_since():
    if not reset_peak():
        pytest.skip('the system does not let a process reset its high-water mark')
    before = peak_memory()
    large = np.ones(8_000_000)
    with_array = peak_memory()
    assert with_array > before + 50
    del large
    reset_peak()
    assert peak_memory() < with_array - 50
