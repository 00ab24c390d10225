"""The benchmarks of relaxation and of the three ways to force constants measure what they say."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from aiida_mlfc.core.structures.symmetry import spacegroup

FOLDER = Path(__file__).parents[2] / 'examples' / 'benchmarks'


def load(name, monkeypatch):
    """A benchmark as a module, under a name of its own."""
    spec = importlib.util.spec_from_file_location(f'benchmark_{name}', FOLDER / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def relaxation(monkeypatch):
    return load('relaxation', monkeypatch)


@pytest.fixture
def three_ways(monkeypatch):
    return load('three_ways', monkeypatch)


def test_strains(relaxation):
    silicon = bulk('Si', 'diamond', 5.43)
    for keep, wanted in ((True, 'Fd-3m (227)'), (False, 'P-1 (2)')):
        strained = relaxation.strained(silicon, 0.02, 1, keep)
        assert spacegroup(strained, 1e-6) == wanted
        strain = np.linalg.solve(np.array(silicon.cell), np.array(strained.cell)) - np.eye(3)
        assert np.abs(np.linalg.eigvalsh(strain)).max() == pytest.approx(0.02)


def test_twenty_crystals_of_three_kinds(relaxation):
    cases = list(relaxation.cases())
    assert len(cases) == len({case.name for case in cases}) == 20
    groups = [spacegroup(case.atoms, 1e-4) for case in cases]
    assert sum(group in ('P1 (1)', 'P-1 (2)') for group in groups) == 11


def test_both_sides_reach_the_same_minimum(relaxation, monkeypatch):
    chosen = [case for case in relaxation.cases() if case.name == 'Si diamond, any strain']
    monkeypatch.setattr(relaxation, 'cases', lambda: iter(chosen))
    monkeypatch.setattr(relaxation, 'OPTIMIZERS', relaxation.OPTIMIZERS[:2])
    found = relaxation.rows()
    # of the one crystal, of all, and of its group
    assert len(found) == 1 + 3 + 3
    for row in found:
        assert row['ratio'] == pytest.approx(row['ours'] / row['peer_value'])
    for gradients in (found[1], found[4]):
        assert gradients['quantity'] == 'gradient evaluations'
        assert gradients['ours'] == found[0]['ours']
    # the benchmark asks for 0.2 over its twenty; no single crystal may be far from that
    assert gradients['ratio'] < 0.3
    (case,) = chosen
    ours = relaxation.relax(case.atoms, case.potential, True, symprec=relaxation.SYMPREC)
    assert ours.energy == pytest.approx(relaxation.by_ase(case)[3], abs=1e-7)


def test_three_ways(three_ways, monkeypatch, tmp_path):
    monkeypatch.setattr(three_ways, 'SUPERCELL', [1, 1, 1])
    monkeypatch.setattr(three_ways, 'MESH', [3, 3, 3])
    monkeypatch.setattr(three_ways, 'CRYSTALS', {'Si': three_ways.CRYSTALS['Si 64 atoms']})
    found = {way.name if not way.step else f'{way.name} {way.step:g}': way for way in three_ways.ways(
        three_ways.CRYSTALS['Si']())}  # fmt: skip
    # an independent reference: differences extrapolated to a vanishing step
    assert found['exact'].relative < 1e-8
    assert found['exact, float32'].relative < 1e-5
    # the error of a difference goes as the square of its step
    ratio = found['finite difference 0.02'].relative / found['finite difference 0.01'].relative
    assert ratio == pytest.approx(4, rel=0.05)
    assert found['predict zero'].relative == pytest.approx(1)
    assert 0.3 < found['Gauss-Newton, best scale'].relative < 1
    assert found['Gauss-Newton, best scale'].relative <= found['Gauss-Newton'].relative
