"""E0 of the elements: exact where compositions determine them, and where they do not."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk

from aiida_mlfc.core.potentials.training.reference_energies import fitted_reference_energies


def with_energies(reference, crystal, energies):
    none = np.zeros((len(energies), len(crystal), 3))
    return replace(reference, supercell=crystal, energies=np.array(energies), displacements=none, forces=none)


def test_two_compositions_determine_two_elements(reference):
    """E0 = -2 for Na, -5 for Cl: NaCl at -3.5 an atom, and Na alone."""
    salt = bulk('NaCl', 'rocksalt', a=5.6) * 2
    metal = bulk('Na', 'bcc', a=4.2) * 2
    sets = [with_energies(reference, salt, [-3.5 * len(salt)] * 3), with_energies(reference, metal, [-2 * len(metal)])]
    np.testing.assert_allclose(fitted_reference_energies(sets, (11, 13, 17)), [-2, 0, -5], atol=1e-12)


def test_one_composition_determines_the_sum(reference):
    """The solution of smallest norm: equal shares in NaCl."""
    salt = bulk('NaCl', 'rocksalt', a=5.6)
    found = fitted_reference_energies([with_energies(reference, salt, [-7.1, -6.9])], (11, 17))
    assert found == pytest.approx([-3.5, -3.5])


def test_harmonic_energy_is_taken_off(reference):
    """Springs of 2 eV/Å² on every atom: E = E0 + u², F = -2 u."""
    u = np.random.default_rng(0).standard_normal(reference.forces.shape)
    energies = -3.0 * len(reference.supercell) + np.sum(u**2, axis=(1, 2))
    moved = replace(reference, displacements=u, forces=-2 * u, energies=energies)
    assert fitted_reference_energies([moved], (11, 17)) == pytest.approx([-3.0, -3.0])


def test_nothing_known(reference):
    assert fitted_reference_energies([reference], (11, 17)) is None
