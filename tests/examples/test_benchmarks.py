"""The benchmark runs on tiny weights and crystals; rows, tables and page hold what was measured."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / 'examples' / 'benchmarks'
KEYS = ['case', 'quantity', 'ours', 'peer', 'peer_value', 'ratio', 'accuracy']


@pytest.fixture
def benchmarks(monkeypatch):
    """The folder as scripts see it; its modules are forgotten afterwards, for they have plain names."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    yield BENCHMARKS
    for name in set(sys.modules) - before:
        if (BENCHMARKS / f'{name}.py').exists():
            del sys.modules[name]


def run(*arguments, folder):
    environment = {k: v for k, v in os.environ.items() if k != 'MLFC_BENCH_PEER_PYTHON'}
    return subprocess.run(
        [sys.executable, '-W', 'error::UserWarning', str(BENCHMARKS / 'run.py'), *arguments, '--output', str(folder)],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip


def test_smoke(tmp_path):
    """Dense Hessian and loop equal ours; jobs of a few crystals run; all stand in the results and on the page."""
    done = run('--smoke', '--case', 'naive-hessians', '--case', 'many-crystals', folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / 'results.json').read_text())
    for row in rows:
        assert list(row) == KEYS
        assert row['ratio'] == pytest.approx(row['ours'] / row['peer_value'])
    naive = [row for row in rows if row['case'] == 'naive-si8']
    assert len(naive) == 4
    for row in naive:
        assert float(row['accuracy'].split()[-2]) < 1e-12, row
    assert [row['quantity'].partition(':')[0] for row in rows[4:]] == ['evaluate', 'force_constants']
    page = (tmp_path / 'report.html').read_text()
    assert 'Structures of 2 atoms in one job' in page
    assert 'src="http' not in page


def test_unknown_case_names_those_there_are(benchmarks, monkeypatch, capsys):
    import run as benchmark

    monkeypatch.setattr(sys, 'argv', ['run.py', '--case', 'si65'])
    with pytest.raises(SystemExit):
        benchmark.main()
    said = capsys.readouterr().err
    assert 'si65' in said
    assert 'triclinic160' in said


def test_low_symmetry_crystals_are_what_they_say(benchmarks):
    import spglib
    from crystals import crystals

    groups = {'monoclinic160': 'P2_1/c', 'triclinic160': 'P-1', 'triclinic160-p1': 'P1'}
    for name, symbol in groups.items():
        atoms = crystals()[name].atoms
        assert len(atoms) == 20
        cell = (np.array(atoms.cell), atoms.get_scaled_positions(), atoms.numbers)
        assert spglib.get_spacegroup(cell, symprec=1e-4).split()[0] == symbol
        distances = atoms.repeat(2).get_all_distances(mic=True)
        assert distances[distances > 0].min() > 1.8


def test_rows_know_their_ratio_and_their_target(benchmarks):
    from row import Row

    row = Row('case', 'time', 2.0, 'someone', 4.0, 'exact', 0.4)
    assert row.ratio == 0.5
    assert row.met is False
    assert list(row.to_dict()) == [*KEYS, 'target']
    assert Row('case', 'time', 2.0, 'someone', 4.0, 'exact').met is None


def test_a_broken_case_is_said_and_does_not_stop_the_others(benchmarks, tmp_path, capsys):
    from row import Findings, Row
    from run import collect, run_case

    def broken():
        raise RuntimeError('the peer <b>fell</b> over')

    run_case('broken', broken, tmp_path / 'parts')
    run_case('sound', lambda: Findings([Row('sound', 'time', 1.0, 'p', 2.0, 'a', 0.1)]), tmp_path / 'parts')
    parts = collect(tmp_path, ['broken', 'sound'])
    assert [bool(part['error']) for part in parts] == [True, False]
    assert 'fell' in capsys.readouterr().out
    page = (tmp_path / 'report.html').read_text()
    assert '<b>fell' not in page
    assert 'missed' in page
    assert json.loads((tmp_path / 'results.json').read_text())[0]['ratio'] == 0.5


def test_measuring_sees_memory_that_was_given_back(benchmarks):
    """In a child as the benchmark forks it: 64 MiB that live for a moment are the peak."""
    from side_loop import measure

    def task(size):
        def run():
            return {'facts': {'sum': float(np.ones(size).sum())}}

        return run

    n = 8 * 2**20
    found = measure(task, {'size': n}, 2, None)
    assert found['facts']['sum'] == n
    assert 60 < found['memory'] < 90
    assert found['seconds']['all'] > 0


def test_a_side_that_fails_says_why(benchmarks):
    from crystals import silicon
    from sides import TINY, ours

    with ours('float64', TINY) as side, pytest.raises(RuntimeError, match='wanted'):
        side.ask('force_constants', silicon(1), engine='no such engine')
