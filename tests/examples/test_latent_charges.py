"""The benchmark of dx with and without latent charges runs, on springs and with a toy."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from ..spring_sets import write_springs

BENCHMARKS = Path(__file__).parents[2] / 'examples' / 'benchmarks'
MODEL = {'channels': 4, 'n_heads': 2, 'n_layers': 1, 'cutoff': 3.2, 'radial_width': 8, 'n_radial': 4}


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import hessian_training
    import latent_charges

    monkeypatch.setattr(hessian_training, 'TIMED_STEPS', 3)
    yield latent_charges
    del sys.modules['latent_charges'], sys.modules['hessian_training']


def arguments(tmp_path):
    write_springs(tmp_path / 'springs')
    return ['--reference', f'{tmp_path / "springs"}={tmp_path / "springs"}', '--seconds', '0.01',
            '--model', json.dumps(MODEL), '--output', str(tmp_path / 'out')]  # fmt: skip


def test_smoke(benchmark, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, 'known_charges', lambda references, species: np.array([0.6, -0.6]))
    benchmark.main(arguments(tmp_path))
    found = json.loads((tmp_path / 'out' / 'latent_charges.json').read_text())['springs']['springs']
    assert list(found) == list(benchmark.WAYS)
    for row in found.values():
        assert row['steps'] >= 4
        assert 0 < row['relative_frobenius_percent'] < 300


def test_no_charges_nothing_to_compare(benchmark, tmp_path):
    with pytest.raises(SystemExit, match='springs has no Born charges'):
        benchmark.main(arguments(tmp_path))
