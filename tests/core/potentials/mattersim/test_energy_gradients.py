"""The compiled function gives the same numbers, or says that it cannot and gives them anyway."""

import copy

import pytest
import torch
from ase.build import bulk

from aiida_mlfc.core.potentials.mattersim import energy_gradients
from aiida_mlfc.core.potentials.mattersim.calculator import DifferentiableMatterSimCalculator
from aiida_mlfc.core.potentials.mattersim.energy_gradients import CompileFallbackWarning

from .reference_values import TINY, crystal

EVERYTHING = {'return_forces': True, 'return_stress': True}


def assert_same(result, expected):
    assert set(result) == set(expected)
    for key, value in expected.items():
        torch.testing.assert_close(result[key], value, rtol=0, atol=1e-10)


def test_compiled():
    """Traced once, then used for another crystal. The default backend takes minutes; this one shares all but code."""
    compiled = DifferentiableMatterSimCalculator(TINY, compile='eager', dtype=torch.float64)
    plain = DifferentiableMatterSimCalculator(TINY, dtype=torch.float64)
    for name in ('si_rattled_8', 'triclinic_6'):
        assert_same(compiled.forward(crystal(name), **EVERYTHING), plain.forward(crystal(name), **EVERYTHING))
    assert compiled._compiled.failure is None
    assert copy.deepcopy(compiled)._compiled.failure is None
    # What needs a graph is computed without it.
    positions = torch.tensor(bulk('Si').positions, requires_grad=True)
    result = compiled.forward(bulk('Si'), positions=positions, return_forces=True, create_graph_forces=True)
    result['forces'].square().sum().backward()
    assert positions.grad is not None


def test_loud_fallback(monkeypatch):
    def broken(*args, **options):
        raise RuntimeError('no compiler here\nand a long story')

    monkeypatch.setattr(energy_gradients.torch, 'compile', broken)
    calculator = DifferentiableMatterSimCalculator(TINY, compile=True, dtype=torch.float64)
    plain = DifferentiableMatterSimCalculator(TINY, dtype=torch.float64)
    with pytest.warns(CompileFallbackWarning, match=r'RuntimeError: no compiler here\); results now come uncompiled'):
        result = calculator.forward(bulk('Si'), **EVERYTHING)
    assert_same(result, plain.forward(bulk('Si'), **EVERYTHING))
    # Once is enough.
    assert_same(calculator.forward(bulk('Fe'), **EVERYTHING), plain.forward(bulk('Fe'), **EVERYTHING))
