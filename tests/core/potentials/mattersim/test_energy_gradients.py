"""The compiled function gives the same numbers, or says that it cannot and gives them anyway."""

import copy
import os
import shutil

import pytest
import torch
import torch._inductor.config
from ase.build import bulk

from aiida_mlfc.core.potentials.mattersim import energy_gradients
from aiida_mlfc.core.potentials.mattersim.calculator import DifferentiableMatterSimCalculator
from aiida_mlfc.core.potentials.mattersim.energy_gradients import CompileFallbackWarning
from aiida_mlfc.core.potentials.mattersim.model import M3GNet, M3GNetConfig

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


@pytest.mark.skipif(shutil.which(os.environ.get('CXX', 'g++')) is None, reason='no C++ compiler, which inductor needs')
@pytest.mark.skipif(
    not (os.environ.get('CI') or os.environ.get('MLFC_TEST_COMPILE')),
    reason='a minute of compilation: runs with CI or MLFC_TEST_COMPILE set',
)
def test_default_backend(monkeypatch, tmp_path):
    """Real kernels, of the smallest model there can be; compiled once for crystals of all sizes."""
    monkeypatch.setenv('TORCHINDUCTOR_CACHE_DIR', str(tmp_path))
    torch.manual_seed(0)
    model = M3GNet(M3GNetConfig(num_blocks=1, units=8, cutoff=5.0, threebody_cutoff=4.0, max_z=94))
    model.sbf.coef.copy_(torch.load(TINY, weights_only=True)['model']['sbf.coef'])
    model = model.double().requires_grad_(False).eval()
    compiled = DifferentiableMatterSimCalculator(model, compile=True, dtype=torch.float64)
    plain = DifferentiableMatterSimCalculator(model, dtype=torch.float64)
    for name in ('si_rattled_8', 'triclinic_6'):
        expected = plain.forward(crystal(name), **EVERYTHING)
        assert expected['forces'].abs().max() > 1e-6
        # Inductor makes other code, and has other flaws, for several threads than for one.
        with torch._inductor.config.patch({'cpp.threads': 2}):
            assert_same(compiled.forward(crystal(name), **EVERYTHING), expected)
        assert compiled._compiled.failure is None
    assert list(tmp_path.rglob('*.so'))


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
