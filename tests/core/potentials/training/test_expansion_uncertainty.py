"""Members of the posterior of an expansion: calibrated as it says, kept in the file, larger where data say less."""

import numpy as np
import pytest
import torch
from ase.build import bulk

from aiida_mlfc.core.potentials.checkpoints import load_dx, save_dx
from aiida_mlfc.core.potentials.dx.config import DXConfig
from aiida_mlfc.core.potentials.dx.model import DXModel
from aiida_mlfc.core.potentials.ensemble import UNCERTAINTY, members, with_coefficients
from aiida_mlfc.core.potentials.training import expansion_uncertainty
from aiida_mlfc.core.potentials.training.batches import prepare
from aiida_mlfc.core.potentials.training.expansion_fit import fit_expansion
from aiida_mlfc.core.potentials.training.expansion_uncertainty import CALIBRATED, Own, calibrated_members
from aiida_mlfc.core.potentials.training.recipe import Recipe
from aiida_mlfc.core.potentials.training.validation import hessian_at_rest
from aiida_mlfc.runner.force_constants import compute_force_constants
from aiida_mlfc.runner.uncertainty import frequency_spread

LENGTHS = {'pair_cutoff': 5.2, 'triplet_cutoff': 3.9, 'pair_spacing': 0.5, 'triplet_spacing': 0.8}
SYSTEM = (0, 1)


def learner(**changes):
    settings = {'species': (11, 17), 'channels': 8, 'expansion_systems': ((11, 17),), **LENGTHS, **changes}
    model = DXModel(DXConfig(**settings)).double().eval()
    model.silence()
    return model.requires_grad_(False)


@pytest.fixture(scope='module')
def fitted(reference):
    model = learner()
    material = prepare(reference.part(0), model)
    fit = fit_expansion(model, [material], Recipe(), n_draws=6)
    return model, fit, prepare(reference.part(1), model).cells[:2]


def test_draws_do_not_move_the_solution(fitted, reference):
    model, fit, _ = fitted
    other = learner()
    assert fit_expansion(other, [prepare(reference.part(0), other)], Recipe()).left == pytest.approx(fit.left, rel=1e-9)
    # a right side beside it changes the order in which its products are summed; 1e-9 of the largest was found
    difference = (other.expansion.coefficients - model.expansion.coefficients).abs().max()
    assert difference < 1e-7 * model.expansion.coefficients.abs().max()
    assert fit.draws[SYSTEM].shape == (6, model.expansion.n_coefficients)


def test_spread_is_as_large_as_the_error(fitted):
    model, fit, cells = fitted
    found, said = calibrated_members(model, fit.draws, {SYSTEM: cells})
    assert found.shape == (6, model.expansion.n_coefficients)
    assert found.mean(dim=0).abs().max() < 1e-12
    spread, error = said[SYSTEM]
    assert spread == pytest.approx(error, rel=CALIBRATED)


def test_hessians_of_members_are_those_of_members(fitted, monkeypatch):
    """Linear in the coefficients: those of draws are computed once, or those of the sum where systems are many."""
    model, fit, cells = fitted
    other = torch.zeros_like(fit.draws[SYSTEM])
    other[:, :20] = fit.draws[SYSTEM][:, :20].flip(0)
    draws = {SYSTEM: fit.draws[SYSTEM], (0,): other, (1,): torch.zeros_like(other)}
    scales = {SYSTEM: 0.02, (0,): 0.05, (1,): 1.0}
    differences = 0.02 * draws[SYSTEM] + 0.05 * other
    copies = [with_coefficients(model, model.expansion.coefficients + d) for d in differences]
    wanted = np.array([hessian_at_rest(copy, cells[1]) for copy in copies]) - hessian_at_rest(model, cells[1])
    size = np.abs(wanted).max()
    assert size > 1e-3
    own = Own(model, cells[1], draws)
    assert list(own.draws) == [SYSTEM, (0,)]
    np.testing.assert_allclose(own.of_members(scales), wanted, atol=1e-9 + 1e-8 * size)
    monkeypatch.setattr(expansion_uncertainty, 'ROUNDS', 1)
    np.testing.assert_allclose(Own(model, cells[1], draws).of_members(scales), wanted, atol=1e-9 + 1e-8 * size)


def test_a_system_without_configurations_takes_the_scale_of_the_others(fitted):
    model, fit, cells = fitted
    draws = {SYSTEM: fit.draws[SYSTEM], (0,): torch.randn(6, model.expansion.n_coefficients).double() * 1e-6}
    found, said = calibrated_members(model, draws, {SYSTEM: cells})
    alone, _ = calibrated_members(model, fit.draws, {SYSTEM: cells})
    assert set(said) == {SYSTEM}
    assert (found - alone).abs().max() > 0
    assert torch.allclose(found, alone, rtol=0.1, atol=1e-3)


def test_nothing_to_calibrate_with(fitted):
    model, fit, cells = fitted
    with pytest.raises(RuntimeError, match=r'got cells of the systems \[\]'):
        calibrated_members(model, fit.draws, {})
    with pytest.raises(RuntimeError, match=r'got cells of the systems \[\(0,\)\]'):
        calibrated_members(model, fit.draws, {(0,): cells})
    with pytest.raises(RuntimeError, match='spread and error'):
        calibrated_members(model, {SYSTEM: torch.zeros_like(fit.draws[SYSTEM])}, {SYSTEM: cells})


@pytest.fixture
def carried(fitted, tmp_path):
    """Saved and loaded again."""
    model, fit, cells = fitted
    found, _ = calibrated_members(model, fit.draws, {SYSTEM: cells})
    model.set_members(found)
    model.metadata = {'name': 'x', UNCERTAINTY: {'n_members': 6}}
    save_dx(model, tmp_path / 'x.safetensors')
    yield load_dx(tmp_path / 'x.safetensors')
    model.set_members(found[:0])
    model.metadata = {}


def test_the_file_keeps_them(carried, fitted):
    model = fitted[0]
    assert carried.config.expansion_members == 6
    several = list(members(carried))
    assert len(several) == 6
    for member, difference in zip(several, model.expansion.members, strict=True):
        assert member.is_silent
        own = member.expansion.coefficients - carried.expansion.coefficients
        assert torch.allclose(own, difference, rtol=1e-5, atol=1e-6)
    assert not torch.equal(several[0].expansion.coefficients, several[1].expansion.coefficients)


def test_members_spread_more_where_the_crystal_is_another(carried):
    def spread(lattice):
        crystal = bulk('NaCl', 'rocksalt', a=lattice)
        return frequency_spread(compute_force_constants(crystal, [2, 2, 2], carried), carried)

    at_rest = spread(5.5)
    assert 0 < at_rest < 0.2
    assert spread(5.35) > 2 * at_rest


def test_a_card_of_other_members(carried):
    carried.metadata[UNCERTAINTY] = {'n_members': 5}
    with pytest.raises(ValueError, match='says 5 members'):
        list(members(carried))


def test_files_from_before_there_were_members(tmp_path):
    """No such tensor is written where there is none, and none is missed."""
    save_dx(learner(), tmp_path / 'old.safetensors')
    loaded = load_dx(tmp_path / 'old.safetensors')
    assert loaded.expansion.members.shape == (0, loaded.expansion.n_coefficients)
    assert 'expansion.members' not in loaded.state_dict()


@pytest.mark.parametrize('changes', [{'expansion_members': -1}, {'expansion_members': 101},
                                     {'expansion_members': 2, 'expansion_systems': ()}])  # fmt: skip
def test_members_of_nothing_and_too_many(changes):
    with pytest.raises(ValueError, match='expansion_members: got'):
        learner(**changes)


def test_what_a_file_asks_for_is_bounded():
    many = tuple(range(1, 9))
    with pytest.raises(ValueError, match=r'coefficients, wanted at most'):
        learner(species=many, expansion_systems=(many,), triplet_spacing=0.3, expansion_members=100)


def test_same_seed_same_draws(fitted, reference):
    _, fit, _ = fitted
    draws = []
    for seed in (0, 1):
        model = learner()
        draws.append(fit_expansion(model, [prepare(reference.part(0), model)], Recipe(seed=seed), n_draws=6).draws)
    assert torch.equal(draws[0][SYSTEM], fit.draws[SYSTEM])
    assert not np.allclose(draws[1][SYSTEM], fit.draws[SYSTEM])
