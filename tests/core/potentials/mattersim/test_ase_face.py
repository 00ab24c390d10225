"""The calculator as ASE's: properties, caching, relaxation."""

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from aiida_mlfc.core.potentials.mattersim.calculator import DifferentiableMatterSimCalculator
from aiida_mlfc.core.units import EV_PER_CUBIC_ANGSTROM_IN_GPA

from .reference_values import TINY, TOY, crystal, golden


def test_golden_values_in_float64():
    expected = golden()['models']['tiny-random']['float64']['triclinic_6']
    atoms = crystal('triclinic_6')
    atoms.calc = DifferentiableMatterSimCalculator(TINY)
    assert abs(atoms.get_potential_energy() - expected['energy']) < 1e-10
    assert np.abs(atoms.get_forces() - expected['forces']).max() < 1e-10
    stress = atoms.get_stress(voigt=False) * EV_PER_CUBIC_ANGSTROM_IN_GPA
    assert np.abs(stress - expected['stress']).max() < 1e-9


def test_only_what_is_asked_for_is_computed(monkeypatch):
    atoms = bulk('Si')
    calculator = DifferentiableMatterSimCalculator(TINY)
    atoms.calc = calculator
    calls = []
    original = calculator.forward
    monkeypatch.setattr(calculator, 'forward', lambda *a, **k: calls.append(k) or original(*a, **k))
    atoms.get_potential_energy()
    atoms.get_potential_energy()
    assert [c['return_forces'] for c in calls] == [False]
    atoms.get_stress()
    atoms.get_forces()
    assert [c['return_stress'] for c in calls] == [False, True]


def test_forces_and_stress_are_derivatives():
    atoms = crystal('nacl_sheared_2')
    atoms.calc = DifferentiableMatterSimCalculator(TINY)
    assert np.abs(calculate_numerical_forces(atoms, eps=1e-4) - atoms.get_forces()).max() < 1e-6
    assert np.abs(calculate_numerical_stress(atoms, eps=1e-4) - atoms.get_stress()).max() < 1e-6


def test_relaxation_of_cell_and_positions():
    atoms = bulk('Si', a=5.5)
    atoms.rattle(0.05, seed=1)
    atoms.calc = DifferentiableMatterSimCalculator(TOY)
    with BFGS(FrechetCellFilter(atoms), logfile=None) as optimizer:
        assert optimizer.run(fmax=1e-3, steps=60)
    assert np.abs(atoms.get_forces()).max() < 1e-3
    assert atoms.calc.n_searches < 10


def test_float64_whatever_the_default_dtype():
    atoms = crystal('si_rattled_8')
    atoms.calc = DifferentiableMatterSimCalculator(TINY)
    assert torch.get_default_dtype() == torch.float32
    assert atoms.get_forces().dtype == np.float64


def test_no_structure():
    with pytest.raises(ValueError, match='atoms: got None'):
        DifferentiableMatterSimCalculator(TINY).calculate()
