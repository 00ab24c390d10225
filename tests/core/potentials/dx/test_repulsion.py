"""Repulsion at short distances: the universal potential, nothing where it ends, derivatives that fit."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from aiida_mlfc.core.potentials.derivatives.energy_derivatives import energy_forces
from aiida_mlfc.core.potentials.dx.config import DXConfig
from aiida_mlfc.core.potentials.dx.model import DXModel
from aiida_mlfc.core.potentials.dx.repulsion import Repulsion
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph

SPECIES = (8, 14)


def pair(distance, symbols='SiO'):
    return Atoms(symbols, positions=[[0, 0, 0], [distance, 0, 0]], cell=[12, 12, 12], pbc=True)


def quiet(**changes):
    """A network with nothing to say."""
    model = DXModel(DXConfig(species=SPECIES, channels=8, expansion_systems=((8, 14),), **changes)).double()
    model.silence()
    return model.requires_grad_(False)


def energy(model, atoms):
    return float(model(build_graph(atoms, model.cutoff, SPECIES)).sum())


def test_the_universal_potential():
    # Si on Si at 0.5 Å by hand: a = 0.46853 / (2 * 14^0.23) = 0.12767 Å, x = 3.9162
    factors, exponents = [0.18175, 0.50986, 0.28022, 0.02817], [3.1998, 0.94229, 0.4029, 0.20162]
    screening = np.dot(factors, np.exp(-3.9162 * np.array(exponents)))
    found = energy(quiet(repulsion=[(14, 14, 2.0)]), pair(0.5, 'Si2'))
    assert found == pytest.approx(14.39964 * 14 * 14 / 0.5 * screening, rel=1e-4)


def test_it_ends_where_it_should_and_only_for_its_pair():
    model = quiet(repulsion=[(14, 8, 1.4)])
    assert model.config.repulsion == ((8, 14, 1.4),)
    assert energy(model, pair(1.4)) == 0
    assert 0 < energy(model, pair(1.39)) < 1e-6
    assert energy(model, pair(1.0)) > 1
    assert energy(model, pair(1.0, 'Si2')) == 0
    assert energy(quiet(), pair(1.0)) == 0


def test_four_derivatives_vanish_at_the_end_and_fit_inside():
    repulsion = Repulsion(SPECIES, [(8, 14, 1.4)])

    def derivatives(at):
        r = torch.tensor([at], dtype=torch.float64, requires_grad=True)
        y, found = repulsion.energies(r)[0, 0, 1], []
        for _ in range(4):
            (g,) = torch.autograd.grad(y, r, create_graph=True)
            y = g.sum()
            found.append(float(y.detach()))
        return found

    for end, inner in ((1.4, 1.4 - 1e-8), (0.7 + 1e-8, 0.7 - 1e-8)):
        outside, inside = np.array(derivatives(end)), np.array(derivatives(inner))
        assert np.allclose(inside, outside, rtol=1e-2, atol=0.05 if end == 1.4 else 1.0)


def test_forces_are_the_derivative_and_nothing_is_said_of_crystals_at_rest():
    model = quiet(repulsion=[(14, 14, 2.0)])
    crystal = bulk('Si', 'diamond', 5.43)
    assert energy(model, crystal) == 0
    crystal.positions[1] *= 0.7
    graph = build_graph(crystal, model.cutoff, SPECIES)
    forces = energy_forces(model, graph)[1]
    step = torch.zeros_like(graph.positions)
    step[1, 0] = 1e-5
    sides = [float(model(graph.with_positions(graph.positions + sign * step)).sum()) for sign in (1, -1)]
    assert float(forces[1, 0]) == pytest.approx(-(sides[0] - sides[1]) / 2e-5, rel=1e-6)
    assert float(forces[1, 0]) > 0.1


def test_species_are_differentiated():
    model = quiet(repulsion=[(8, 14, 1.4), (14, 14, 2.0)])
    graph = build_graph(pair(1.0), model.cutoff, SPECIES)
    graph.atom_types.requires_grad_(True)
    (found,) = torch.autograd.grad(model(graph).sum(), graph.atom_types)
    mixed = energy(model, pair(1.0)), energy(model, pair(1.0, 'Si2'))
    assert found[1].tolist() == pytest.approx(mixed, rel=1e-9)


@pytest.mark.parametrize('wrong', [(8, 14, 0.0), (8, 14, 50.0), (8, 11, 1.4)])
def test_what_is_refused(wrong):
    with pytest.raises(ValueError, match='repulsion: got'):
        DXConfig(species=SPECIES, repulsion=[wrong])


def test_stored_with_the_model():
    config = quiet(repulsion=[(8, 14, 1.4)]).config
    assert DXConfig.from_dict(config.to_dict()) == config
    old = {key: value for key, value in config.to_dict().items() if key != 'repulsion'}
    assert DXConfig.from_dict(old).repulsion == ()
