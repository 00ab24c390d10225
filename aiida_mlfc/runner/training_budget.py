"""How many steps of a training fit into minutes."""

from __future__ import annotations

import json
import time
from copy import deepcopy
from pathlib import Path

import numpy as np

from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.training.batches import Material, draw_batch
from aiida_mlfc.core.potentials.training.recipe import Recipe
from aiida_mlfc.core.potentials.training.terms import loss_terms

#: how a time budget became a number of steps; written once, so that a resumed run keeps its learning rates
PLAN_FILE = 'plan.json'
#: steps that are timed for a budget in minutes
TIMED_STEPS = 12
#: of the budget, the rest is for evaluation and for a machine that slows down
SHARE_OF_BUDGET = 0.9
FEWEST_STEPS = 100


def steps_in(
    folder: Path, model: EnergyModel, materials: list[Material], recipe: Recipe, minutes: float, spent: float
) -> int:
    """How many steps fit into a budget on this machine, timed on a copy of the model.

    :param spent: s, of the budget, on other things.
    """
    plan = folder / PLAN_FILE
    if plan.exists():
        found = json.loads(plan.read_text())
        if found['minutes'] == minutes:
            return int(found['n_steps'])
    copy, rng = deepcopy(model), np.random.default_rng(0)
    seconds = 0.0
    # stages cost differently: each counts with its share of the steps
    for stage, share in ((1, recipe.start_stage_two), (2, 1 - recipe.start_stage_two)):
        times = []
        for _ in range(TIMED_STEPS if share else 0):
            started = time.perf_counter()
            sum(loss_terms(copy, draw_batch(materials, recipe, rng, copy, stage), recipe)).backward()  # type: ignore[union-attr]
            times.append(time.perf_counter() - started)
        # the first steps pay for memory; the mean keeps the rare large supercells in
        seconds += share * float(np.mean(times[2:])) if times else 0.0
    n_steps = max(FEWEST_STEPS, int((60 * minutes - spent) * SHARE_OF_BUDGET / seconds))
    partial = plan.with_suffix('.partial')
    partial.write_text(json.dumps({'minutes': minutes, 'n_steps': n_steps}))
    partial.replace(plan)
    return n_steps
