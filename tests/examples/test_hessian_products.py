"""The benchmark of fits to Hessian products runs, on springs; what it compares is what it says."""

import json
import sys
from pathlib import Path

import pytest

from aiida_mlfc.core.potentials.training import expansion_fit

from ..spring_sets import write_springs

BENCHMARKS = Path(__file__).parents[2] / 'examples' / 'benchmarks'
MODEL = {'cutoff': 3.2, 'pair_cutoff': 5.0, 'triplet_cutoff': 4.0, 'triplet_spacing': 1.0}


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import hessian_products

    yield hessian_products
    del sys.modules['hessian_products']


def test_smoke(benchmark, tmp_path, monkeypatch):
    write_springs(tmp_path / 'springs')
    ways = {'forces': [(1, 0), (2, 0)], 'Hessian products': [(0, 1)], 'Hessian products and forces': [(2, 1)]}
    monkeypatch.setattr(benchmark, 'WAYS', ways)
    draws = expansion_fit.DRAWS
    benchmark.main(['--reference', str(tmp_path / 'springs'), '--model', json.dumps(MODEL),
                    '--output', str(tmp_path / 'out')])  # fmt: skip
    assert draws == expansion_fit.DRAWS
    found = json.loads((tmp_path / 'out' / 'hessian_products.json').read_text())['springs']
    assert [[(row['supercells'], row['draws']) for row in rows] for rows in found.values()] == list(ways.values())
    for rows in found.values():
        assert all(0 < row['relative_frobenius'] < 0.5 and row['seconds'] > 0 for row in rows)
    assert (tmp_path / 'out' / 'hessian_products.png').read_bytes().startswith(b'\x89PNG')
