"""The training loop learns, continues where it stopped, and refuses what does not belong together."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from aiida_mlfc.core.potentials.training import loop
from aiida_mlfc.core.potentials.training.loop import Trainer, draw_batch, loss_terms, prepare
from aiida_mlfc.core.potentials.training.recipe import Recipe
from aiida_mlfc.core.potentials.training.references import Reference

from ...small_systems import EmbeddedAtoms, small_dx

RECIPE = Recipe(
    n_steps=60, warm_up=5, learning_rate=1e-2, n_undisplaced=1, supercell_share=0.1, checkpoint_interval=0.0
)


def untrained():
    return small_dx(n_layers=1).float().train()


@pytest.fixture(scope='module')
def material(reference):
    return prepare(reference, untrained())


@pytest.fixture(scope='module')
def uninterrupted(material, tmp_path_factory):
    model, rows = untrained(), []
    Trainer(model, [material], RECIPE, tmp_path_factory.mktemp('run')).run(rows.append)
    return model, rows


def mean_loss(model, material, recipe=RECIPE, n=10):
    rng = np.random.default_rng(99)
    return np.mean([[t.item() for t in loss_terms(model, draw_batch([material], recipe, rng, model), recipe)]
                    for _ in range(n)], axis=0)


def test_loss_falls(uninterrupted, material):
    before, after = mean_loss(untrained(), material), mean_loss(uninterrupted[0], material)
    assert after[0] < 0.5 * before[0], 'displaced'
    assert after[2] < before[2], 'stress'


def test_reports_are_means(uninterrupted):
    rows = uninterrupted[1]
    assert [row['step'] for row in rows] == [50, 60]
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert rows[1]['seconds'] > rows[0]['seconds'] > 0


def test_last_report_is_a_mean_too(material, tmp_path, monkeypatch):
    """Ten steps after the last report are averaged over ten."""

    def constant_terms(model, batch, recipe):
        zero = 0 * sum(p.sum() for p in model.parameters())
        return zero + 2.0, zero + 3.0, zero + 4.0

    monkeypatch.setattr(loop, 'loss_terms', constant_terms)
    rows = []
    Trainer(untrained(), [material], RECIPE, tmp_path).run(rows.append)
    assert [(r['displaced'], r['at_rest'], r['stress']) for r in rows] == [(2.0, 3.0, 4.0)] * 2


class Killed(Exception):
    pass


def test_resumed_run_gives_the_same_weights(uninterrupted, material, tmp_path):
    def kill(row):
        raise Killed

    with pytest.raises(Killed):
        Trainer(untrained(), [material], RECIPE, tmp_path).run(kill)
    model = untrained()
    trainer = Trainer(model, [material], RECIPE, tmp_path)
    assert trainer.step == 49
    trainer.run()
    for name, value in uninterrupted[0].state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def test_finished_run_only_loads(uninterrupted, material, tmp_path):
    recipe = replace(RECIPE, n_steps=3)
    first, second = untrained(), untrained()
    Trainer(first, [material], recipe, tmp_path).run()
    trainer = Trainer(second, [material], recipe, tmp_path)
    trainer.run()
    assert trainer.step == 3
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not list(tmp_path.glob('*.partial'))


def test_other_recipe_is_refused(material, tmp_path):
    recipe = replace(RECIPE, n_steps=1)
    Trainer(untrained(), [material], recipe, tmp_path).run()
    with pytest.raises(ValueError, match='another recipe'):
        Trainer(untrained(), [material], replace(recipe, learning_rate=1e-3), tmp_path)


def test_other_model_is_refused(material, tmp_path):
    recipe = replace(RECIPE, n_steps=1)
    Trainer(untrained(), [material], recipe, tmp_path).run()
    with pytest.raises(ValueError, match='with other model settings'):
        Trainer(small_dx(n_layers=1, cutoff=4.3).float().train(), [material], recipe, tmp_path)


def test_other_data_are_refused(material, reference, tmp_path):
    """One force that differs, another order of materials, one more of them."""
    recipe = replace(RECIPE, n_steps=1)
    Trainer(untrained(), [material], recipe, tmp_path).run()
    forces = reference.forces.copy()
    forces[3, 5, 1] += 1e-3
    changed = prepare(replace(reference, forces=forces), untrained())
    for materials in ([changed], [material, material]):
        with pytest.raises(ValueError, match='with other data'):
            Trainer(untrained(), materials, recipe, tmp_path)
    # what only says how often to save may change
    Trainer(untrained(), [material], replace(recipe, checkpoint_interval=7.0), tmp_path)


def test_stopped_when_asked(uninterrupted, material, tmp_path):
    asked = iter([False] * 6 + [True])
    recipe = replace(RECIPE, checkpoint_interval=1e9)
    model = untrained()
    assert not Trainer(model, [material], recipe, tmp_path).run(should_stop=lambda: next(asked))
    trainer = Trainer(untrained(), [material], recipe, tmp_path)
    assert trainer.step == 7
    assert trainer.run()
    for name, value in uninterrupted[0].state_dict().items():
        assert torch.equal(trainer.model.state_dict()[name], value), name


def test_learning_rate(material, tmp_path):
    trainer = Trainer(untrained(), [material], Recipe(n_steps=110, warm_up=10, learning_rate=1.0), tmp_path)
    expected = {0: 0.1, 9: 1.0, 10: 1.0, 60: 0.5, 110: 0.0}
    for step, rate in expected.items():
        trainer.stages.at.step = step
        assert trainer.learning_rate() == pytest.approx(rate, abs=1e-12)


def test_batch(material):
    model = untrained()
    batch = draw_batch([material, material], replace(RECIPE, n_undisplaced=3, supercell_share=1.0),
                       np.random.default_rng(0), model)
    assert batch.n_undisplaced == 2
    assert batch.graph.n_systems == 2 + 2 + 1
    assert batch.graph.n_atoms == len(batch.forces) == len(batch.factors)
    at_rest = batch.graph.batch < 2
    assert (batch.forces[at_rest] == 0).all()
    assert torch.equal(batch.graph.positions[at_rest][:2], material.cells[0].graph.positions.float())
    in_supercell = batch.graph.batch == 4
    assert any(torch.equal(batch.forces[in_supercell], forces) for forces in material.forces)


def test_real_supercells_alone(material):
    batch = draw_batch([material, material], replace(RECIPE, folded=False, supercell_share=0.0),
                       np.random.default_rng(0), untrained())
    assert (batch.n_undisplaced, batch.graph.n_systems) == (1, 2)
    assert any(torch.equal(batch.forces[batch.graph.batch == 1], forces) for forces in material.forces)


def test_no_undisplaced_cells(material):
    recipe = replace(RECIPE, n_undisplaced=0)
    displaced, at_rest, stress = mean_loss(untrained(), material, recipe, n=2)
    assert displaced > 0
    assert at_rest == stress == 0


def test_the_source_itself_has_no_loss(material):
    """Labels and model agree about signs, order of atoms and units: the toy's own model has nothing to learn."""
    displaced, _, _ = mean_loss(EmbeddedAtoms(), material)
    assert displaced < 2e-2


def test_divergence_is_an_error(material, tmp_path):
    model = untrained()
    with torch.no_grad():
        model.type_features.fill_(float('nan'))
    with pytest.raises(FloatingPointError, match='at step 0'):
        Trainer(model, [material], RECIPE, tmp_path).run()


def test_skin_follows_large_displacements(reference):
    """A molecular-dynamics reference must not lose neighbours."""
    wild = Reference('wild', reference.supercell, reference.primitive, 30 * reference.displacements, reference.forces,
                     None, {})
    calm, wide = prepare(reference, untrained()).supercell, prepare(wild, untrained()).supercell
    assert wide.n_edges > calm.n_edges


def test_recipe_is_plain_data():
    stored = json.loads(json.dumps(RECIPE.to_dict()))
    assert Recipe(**{**stored, 'betas': tuple(stored['betas'])}) == RECIPE
