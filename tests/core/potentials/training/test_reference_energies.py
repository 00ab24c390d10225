"""E0 of the elements: exact where compositions determine them, and where they do not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.build import bulk

from aiida_mlfc.core.potentials.derivatives.energy_derivatives import energy_forces
from aiida_mlfc.core.potentials.dx.config import DXConfig
from aiida_mlfc.core.potentials.dx.model import DXModel
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.training.reference_energies import correct, fitted_reference_energies, starting_energies


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


def test_energies_that_are_given(reference):
    assert starting_energies([reference], (11, 17), 'zero') is None
    assert starting_energies([reference], (11, 17), 'average') is None
    np.testing.assert_array_equal(starting_energies([reference], (17, 11), {'Na': -1.5, 'Cl': -2, 'H': 0}), [-2, -1.5])
    with pytest.raises(ValueError, match='no energy of Cl, wanted one'):
        starting_energies([reference], (11, 17), {'Na': -1.5})
    with pytest.raises(ValueError, match='Clx is no element'):
        starting_energies([reference], (11, 17), {'Na': -1.5, 'Clx': -2})


def test_a_trained_network_is_put_on_the_zero_of_the_data(reference):
    """Whatever energy it gives perfect crystals: afterwards it is theirs, and forces are what they were."""
    torch.manual_seed(0)
    config = DXConfig((11, 17), channels=4, n_heads=2, n_layers=1, cutoff=3.2, radial_width=8, n_radial=4)
    model = DXModel(config).double()
    salt, metal = bulk('NaCl', 'rocksalt', a=5.6) * 2, bulk('Na', 'bcc', a=4.2) * 2
    sets = [with_energies(reference, salt, [-3.5 * len(salt)] * 3), with_energies(reference, metal, [-2 * len(metal)])]
    graphs = [build_graph(crystal, 3.2, (11, 17)) for crystal in (salt, metal)]
    before = [energy_forces(model, graph) for graph in graphs]
    correct(model, [*sets, reference])
    for (old, forces), graph, wanted in zip(before, graphs, (-3.5, -2.0), strict=True):
        energy, found = energy_forces(model, graph)
        assert float(energy[0]) / graph.n_atoms == pytest.approx(wanted, abs=1e-12)
        assert abs(float(old[0]) / graph.n_atoms - wanted) > 0.1
        assert torch.equal(found, forces)
    known = model.reference_energies.clone()
    correct(model, [reference])
    assert torch.equal(model.reference_energies, known)
