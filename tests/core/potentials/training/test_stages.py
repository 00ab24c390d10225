"""When stages end, and what is kept of them."""

import math

import pytest
import torch

from aiida_mlfc.core.potentials.training.recipe import Recipe
from aiida_mlfc.core.potentials.training.stages import Stages

TWO = Recipe(n_steps=100, start_stage_two=0.6, warm_up=10, learning_rate=1.0, stage_two_learning_rate=0.5)


def weights(value):
    return {'w': torch.full((2,), float(value))}


def run(stages, errors):
    """Steps with a validation every ten, whose errors are given; the weights carry the step."""
    errors = iter(errors)
    while not stages.at.is_over:
        stages.count_step()
        if stages.is_time_to_validate():
            stages.note(next(errors), weights(stages.at.step))
    return stages


def test_two_stages_as_planned():
    stages, seen = Stages(TWO), []
    assert stages.end == 100
    while not stages.at.is_over:
        seen.append((stages.at.stage, stages.learning_rate(stages.at.step)))
        stages.count_step()
    assert [stage for stage, _ in seen] == [1] * 60 + [2] * 40
    rates = [rate for _, rate in seen]
    assert rates[9] == pytest.approx(1.0)
    assert rates[35] == pytest.approx(0.5)
    # stage two warms up to its own rate, and ends near zero as stage one did
    assert rates[69] == pytest.approx(0.5)
    assert rates[59] == pytest.approx(0.5 * (1 + math.cos(math.pi * 49 / 50)))
    assert rates[99] < 0.01


def test_stage_one_stops_early_and_stage_two_gets_all_its_steps():
    recipe = Recipe(n_steps=100, start_stage_two=0.6, patience=2, eval_interval=10)
    stages = run(Stages(recipe), [3.0, 2.0, 2.5, 2.6, 1.9, 1.5, 1.2, 1.1])
    assert stages.at.begin == 40
    assert stages.at.step == 80
    assert (stages.at.best, stages.at.best_step) == (1.1, 80)


def test_the_best_weights_are_kept():
    recipe = Recipe(n_steps=100, patience=3, eval_interval=10)
    stages = run(Stages(recipe), [3.0, 1.0, 1.5, 1.4, 1.3])
    assert stages.at.step == 50
    assert stages.at.best_step == 20
    assert torch.equal(stages.best_weights['w'], weights(20)['w'])


def test_without_patience_validations_only_choose():
    stages = run(Stages(Recipe(n_steps=40, eval_interval=10)), [1.0, 5.0, 6.0, 7.0])
    assert stages.at.step == 40
    assert stages.at.best_step == 10


def test_only_hessian_products():
    stages = Stages(Recipe(n_steps=5, start_stage_two=0.0))
    assert (stages.at.stage, stages.end) == (2, 5)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'ema_decay': 1.0}, 'ema_decay: got 1.0'),
        ({'start_stage_two': 1.5}, 'a share of the steps'),
        ({'stage_two_loss': 'norms'}, "stage_two_loss: got 'norms', wanted frobenius"),
        ({'patience': -1}, 'patience: got -1'),
    ],
)
def test_senseless_recipes(change, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**change)
