"""Hessian products as a loss, early stopping on frequencies, and resuming in every stage."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.training.batches import draw_batch, prepare
from aiida_mlfc.core.potentials.training.harmonic_labels import DISPLACEMENT
from aiida_mlfc.core.potentials.training.loop import Trainer
from aiida_mlfc.core.potentials.training.recipe import Recipe
from aiida_mlfc.core.potentials.training.terms import loss_terms
from aiida_mlfc.core.potentials.training.validation import Validation, hessian_at_rest

from ...small_systems import EmbeddedAtoms, small_dx

RECIPE = Recipe(
    n_steps=12, start_stage_two=0.5, warm_up=3, learning_rate=1e-2, n_undisplaced=1, supercell_share=0.3,
    checkpoint_interval=0.0, eval_interval=4, amsgrad=True, learned_weights=True,
)  # fmt: skip
LOSSES = ('frobenius', 'relative_frobenius', 'column', 'modes')


def untrained():
    return small_dx(n_layers=1).float().train()


@pytest.fixture(scope='module')
def material(reference):
    return prepare(reference, untrained())


@pytest.fixture(scope='module')
def validation(reference):
    found = Validation([reference.part(1)], untrained())
    found.cells = [found.cells[0][:2]]
    return found


def products_batch(material, model, loss='frobenius'):
    recipe = replace(RECIPE, stage_two_loss=loss, n_undisplaced=0, supercell_share=0.0, learned_weights=False)
    return draw_batch([material], recipe, np.random.default_rng(3), model, stage=2), recipe


@pytest.mark.parametrize('loss', LOSSES)
def test_the_source_itself_has_no_loss(material, loss):
    """Labels are a fit to forces at 0.01 Å displacements, which are not quite harmonic."""
    model = EmbeddedAtoms()
    batch, recipe = products_batch(material, model, loss)
    found = loss_terms(model, batch, recipe)[0]
    assert found < {'frobenius': 1e-3, 'relative_frobenius': 3e-2, 'column': 3e-2, 'modes': 1e-3}[loss]
    with torch.no_grad():
        model.strengths.mul_(1.2)
    assert loss_terms(model, batch, recipe)[0] > 5 * found


@pytest.mark.parametrize('loss', LOSSES)
def test_gradients_of_the_loss(material, loss):
    """Third derivatives of the energy with respect to positions, positions and a weight, against differences."""
    model = EmbeddedAtoms()
    with torch.no_grad():
        model.strengths.mul_(1.1)
    batch, recipe = products_batch(material, model, loss)
    (gradient,) = torch.autograd.grad(loss_terms(model, batch, recipe)[0], model.strengths)
    step = 1e-4
    # sodium and chlorine
    for k in (0, 3):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                model.strengths[k] += sign * step
            values.append(loss_terms(model, batch, recipe)[0].item())
            with torch.no_grad():
                model.strengths[k] -= sign * step
        assert gradient[k].item() == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)


def test_column_is_what_the_hessian_says(material):
    """The first term against the Hessian of the model, row by row."""
    model = small_dx(n_layers=1)
    batch, recipe = products_batch(material, model, 'column')
    cell = next(c for c in material.cells if torch.equal(c.graph.cell, batch.graph.cell))
    moved = int(batch.vectors.flatten().abs().argmax())
    difference = (hessian_at_rest(model, cell) - cell.hessian)[moved] * DISPLACEMENT
    size = cell.norms['white'] * DISPLACEMENT / np.sqrt(len(difference))
    assert loss_terms(model, batch, recipe)[0].item() == pytest.approx(np.abs(difference).mean() / size, rel=1e-6)


def test_validation_of_the_source(validation, reference):
    found = validation(EmbeddedAtoms())
    assert found['frequency_mae'] < 0.02
    assert found['relative_frobenius'] < 0.01
    worse = EmbeddedAtoms()
    with torch.no_grad():
        worse.strengths.mul_(1.1)
    assert validation(worse)['frequency_mae'] > 10 * found['frequency_mae']
    # weights that are not the model's own
    assert validation(worse, EmbeddedAtoms().state_dict()) == found


@pytest.fixture(scope='module')
def uninterrupted(material, validation, tmp_path_factory):
    whole, rows = untrained(), []
    Trainer(whole, [material], RECIPE, tmp_path_factory.mktemp('whole'), validation).run(rows.append)
    return whole, rows


class Killed(Exception):
    pass


@pytest.mark.parametrize('step', [4, 8])
def test_killed_in_either_stage(material, validation, uninterrupted, tmp_path, step):
    """Two stages, EMA, validation, AMSGrad and learned weights: the same weights to the last digit."""
    whole, rows = uninterrupted

    def kill(row):
        if row['step'] == step and 'valid_frequency_mae' in row:
            raise Killed

    model, later = untrained(), []
    with pytest.raises(Killed):
        Trainer(model, [material], RECIPE, tmp_path / 'killed', validation).run(kill)
    again = untrained()
    trainer = Trainer(again, [material], RECIPE, tmp_path / 'killed', validation)
    assert trainer.step == step - 1
    trainer.run(later.append)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in whole.state_dict().items())
    seen = [(row['step'], row['valid_frequency_mae']) for row in rows if 'valid_frequency_mae' in row]
    assert [s for s, _ in seen] == [4, 8, 12]
    assert [(r['step'], r['valid_frequency_mae']) for r in later if 'valid_frequency_mae' in r] == [
        pair for pair in seen if pair[0] >= step
    ]
    # what is left in the model is the best that was validated
    assert validation(again.double())['frequency_mae'] == pytest.approx(min(error for _, error in seen), rel=1e-4)


def test_early_stop_survives_a_kill(material, validation, tmp_path, monkeypatch):
    """Errors that grow: stage one ends after two validations in vain, stage two likewise."""
    recipe = replace(RECIPE, n_steps=60, patience=2, eval_interval=2)

    def grow(self, model, weights=None):
        grow.n += 1
        return {'frequency_mae': float(grow.n)}

    results = []
    for interrupted in (False, True):
        grow.n = 0
        monkeypatch.setattr(Validation, '__call__', grow)
        model, folder = untrained(), tmp_path / str(interrupted)
        if interrupted:
            asked = iter([False] * 4 + [True])
            assert not Trainer(model, [material], recipe, folder, validation).run(should_stop=asked.__next__)
            model = untrained()
        trainer = Trainer(model, [material], recipe, folder, validation)
        assert trainer.run()
        # 2, 4, 6: stage two; 8, 10, 12: the end
        assert (trainer.step, trainer.stages.at.begin, trainer.stages.at.best_step) == (12, 6, 2)
        results.append(model.state_dict())
        finished = Trainer(untrained(), [material], recipe, folder, validation)
        assert finished.stages.at.is_over
    assert all(torch.equal(value, results[1][name]) for name, value in results[0].items())


def test_patience_wants_something_to_watch(material, tmp_path):
    with pytest.raises(ValueError, match='nothing to validate on'):
        Trainer(untrained(), [material], replace(RECIPE, patience=3), tmp_path)


def test_states_of_before_these_settings_continue(material, tmp_path):
    """A state that was written when a recipe had no stages, by the same recipe."""
    recipe = Recipe(n_steps=4, warm_up=2, n_undisplaced=1)
    asked = iter([False, True])
    assert not Trainer(untrained(), [material], recipe, tmp_path).run(should_stop=lambda: next(asked))
    path = tmp_path / 'training_state.pt'
    state = torch.load(path, weights_only=True)
    identity = json.loads(state['identity'])
    new = ('start_stage_two', 'stage_two_loss', 'patience', 'amsgrad', 'learned_weights', 'hessian_weight')
    identity['recipe'] = {key: value for key, value in identity['recipe'].items() if key not in new}
    old = {key: state[key] for key in ('step', 'seconds', 'model', 'average', 'optimiser', 'rng')}
    torch.save({**old, 'identity': json.dumps(identity)}, path)
    trainer = Trainer(untrained(), [material], recipe, tmp_path)
    assert trainer.step == 2
    assert trainer.run()


@pytest.mark.parametrize('stage', [1, 2])
def test_energies_of_real_supercells(reference, stage):
    """Energies off by 0.3 eV in 16 atoms: the fourth term is weight (0.3/16)²; without a weight there is none."""
    model = EmbeddedAtoms()
    found = []
    for u in reference.displacements:
        moved = reference.supercell.copy()
        moved.positions += u
        found.append(model(build_graph(moved, model.cutoff, model.species)).item())
    known = prepare(replace(reference, energies=np.array(found) + 0.3), model)
    recipe = replace(RECIPE, supercell_share=1.0, energy_weight=100.0, learned_weights=False)
    batch = draw_batch([known], recipe, np.random.default_rng(0), model, stage)
    terms = loss_terms(model, batch, recipe)
    assert terms[3].item() == pytest.approx(100 * (0.3 / 16) ** 2, rel=1e-9)
    off = replace(recipe, energy_weight=0.0)
    assert len(loss_terms(model, draw_batch([known], off, np.random.default_rng(0), model, stage), off)) == 3
