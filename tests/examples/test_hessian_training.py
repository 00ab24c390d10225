"""The benchmark of Hessian-product training runs, on springs and with a toy; what it compares is what it says."""

import json
import sys
from pathlib import Path

import pytest

from ..spring_sets import write_springs

BENCHMARKS = Path(__file__).parents[2] / 'examples' / 'benchmarks'
MODEL = {'channels': 4, 'n_heads': 2, 'n_layers': 1, 'cutoff': 3.2, 'radial_width': 8, 'n_radial': 4}


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import hessian_training

    yield hessian_training
    del sys.modules['hessian_training']


def test_smoke(benchmark, tmp_path, monkeypatch):
    write_springs(tmp_path / 'springs')
    monkeypatch.setattr(benchmark, 'TIMED_STEPS', 3)
    benchmark.main(['--reference', str(tmp_path / 'springs'), '--seconds', '0.01', '--model', json.dumps(MODEL),
                    '--output', str(tmp_path / 'out')])  # fmt: skip
    found = json.loads((tmp_path / 'out' / 'hessian_training.json').read_text())['springs']
    assert list(found) == list(benchmark.WAYS)
    for rows in found.values():
        assert rows[-1]['step'] == 8
        assert all(0 < row['relative_frobenius'] < 3 for row in rows)
    assert (tmp_path / 'out' / 'hessian_training.png').read_bytes().startswith(b'\x89PNG')
