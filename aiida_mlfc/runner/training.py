"""``task: train``: force sets in, a potential with its card out; killed at any time, run again, the same weights."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aiida_mlfc.core.checkpoint_header import sha256_of
from aiida_mlfc.core.potentials.checkpoints import save_dx
from aiida_mlfc.core.potentials.dx.model import DXModel
from aiida_mlfc.core.potentials.training.defaults import default_config, default_recipe, default_steps, repeated
from aiida_mlfc.core.potentials.training.loop import Material, Trainer, draw_batch, loss_terms, prepare
from aiida_mlfc.core.potentials.training.recipe import Recipe
from aiida_mlfc.core.references.force_sets import ReferenceError
from aiida_mlfc.exchange.names import TRAINED_FILE, TRAINING, TRAINING_LOG
from aiida_mlfc.runner.card import make_card
from aiida_mlfc.runner.evaluation import evaluate
from aiida_mlfc.runner.options import TrainOptions
from aiida_mlfc.runner.outcome import Interrupted, Outcome
from aiida_mlfc.runner.training_data import Split, check_mixture, read_force_set, split

#: how a time budget became a number of steps; written once, so that a resumed run keeps its learning rates
PLAN_FILE = 'plan.json'
#: steps that are timed for a budget in minutes
TIMED_STEPS = 12
#: of the budget, the rest is for evaluation and for a machine that slows down
SHARE_OF_BUDGET = 0.9
FEWEST_STEPS = 100


def run_train(
    folder: Path, keys: Mapping[str, str], read: Callable[[str], dict[str, Any]], options: TrainOptions
) -> Iterator[tuple[str, Outcome | Exception, float]]:
    """Learn from all force sets of the job together; the result of each is how well it came out.

    :param keys: names by key.
    :raises Interrupted: after a SIGTERM; the state is saved.
    """
    started = time.perf_counter()
    if options.threads:
        torch.set_num_threads(options.threads)
    splits: dict[str, Split] = {}
    refused: dict[str, Exception] = {}
    for key in keys:
        try:
            splits[key] = split(read_force_set(read(key)), options.hold_back)
        except Exception as error:  # noqa: BLE001 (one bad force set must not take the others with it; it is named)
            refused[key] = error
            print(f'{keys[key]} is left out: {error}', file=sys.stderr, flush=True)
    try:
        if not splits:
            raise ReferenceError('no force set is left to learn from')
        check_mixture([s.learned for s in splits.values()])
        model, stage = _train(folder / TRAINING, splits, options)
        rows = {key: evaluate(model, s.held_back or s.learned) for key, s in splits.items()}
        model.metadata = make_card(
            options.name,
            model,
            [s.learned for s in splits.values()],
            list(rows.values()),
            [0 if s.held_back is None else len(s.held_back.forces) for s in splits.values()],
            [stage],
            left_out={keys[key]: str(error) for key, error in refused.items()},
        )
        save_dx(model, folder / TRAINED_FILE)
    except Interrupted:
        raise
    except Exception as error:  # noqa: BLE001 (it is the error of every force set of the job)
        rows = {}
        refused |= dict.fromkeys(splits, error)
    spent = (time.perf_counter() - started) / len(keys)
    digest = sha256_of(folder / TRAINED_FILE) if rows else None
    for key in keys:
        if key in refused:
            yield key, refused[key], spent
            continue
        data = {
            **rows[key],
            'held_back': splits[key].held_back is not None,
            'n_configurations_learned': len(splits[key].learned.forces),
            'potential_sha256': digest,
        }
        yield key, (data, lambda path: None), spent


def _train(folder: Path, splits: Mapping[str, Split], options: TrainOptions) -> tuple[DXModel, dict[str, Any]]:
    """Train, or continue.

    :return: the model in float64, and ``recipe``, ``seconds`` and ``steps`` for the card.
    """
    folder.mkdir(parents=True, exist_ok=True)
    references = [s.learned for s in splits.values()]
    torch.manual_seed(options.seed)
    model = DXModel(default_config(references, **(options.model or {}))).to(torch.float32).to(options.device)
    materials = repeated([prepare(reference, model) for reference in references], options.edges_per_step)
    settings = {'checkpoint_interval': 60 * options.checkpoint_minutes, **(options.recipe or {})}
    recipe = default_recipe(options.seed, options.steps, **settings)
    if options.minutes:
        recipe = replace(recipe, n_steps=_steps(folder, model, materials, recipe, options.minutes))
    elif not options.steps:
        recipe = replace(recipe, n_steps=default_steps(materials, recipe))
    trainer = Trainer(model, materials, recipe, folder)
    log = folder / TRAINING_LOG
    _forget_after(log, trainer.step)
    n_parameters = sum(p.numel() for p in model.parameters())
    said = f'{len(references)} force sets, {n_parameters} parameters, step {trainer.step} of {recipe.n_steps}'
    print(f'mlfc-run: train: {said}', file=sys.stderr, flush=True)

    def report(row: dict[str, float]) -> None:
        with log.open('a') as handle:
            handle.write(json.dumps(row) + '\n')
        left = row['seconds'] / row['step'] * (recipe.n_steps - row['step'])
        print(
            f'step {row["step"]:.0f}/{recipe.n_steps}  {row["seconds"]:.0f} s, {left:.0f} s to go  '
            'displaced {displaced:.4f}  at rest {at_rest:.4f}  stress {stress:.4f}'.format(**row),
            file=sys.stderr,
            flush=True,
        )

    with _Stop() as stop:
        if not trainer.run(report, stop.is_asked):
            raise Interrupted(f'the state of step {trainer.step} is kept')
    return model.to(torch.float64), {'recipe': recipe, 'seconds': trainer.seconds, 'steps': trainer.step}


def _steps(folder: Path, model: DXModel, materials: list[Material], recipe: Recipe, minutes: float) -> int:
    """How many steps fit into a budget on this machine, timed on a copy of the model."""
    plan = folder / PLAN_FILE
    if plan.exists():
        found = json.loads(plan.read_text())
        if found['minutes'] == minutes:
            return int(found['n_steps'])
    copy, rng, times = deepcopy(model), np.random.default_rng(0), []
    for _ in range(TIMED_STEPS):
        started = time.perf_counter()
        sum(loss_terms(copy, draw_batch(materials, recipe, rng, copy), recipe)).backward()
        times.append(time.perf_counter() - started)
    # the first steps pay for memory; the mean keeps the rare large supercells in
    n_steps = max(FEWEST_STEPS, int(60 * minutes * SHARE_OF_BUDGET / float(np.mean(times[2:]))))
    partial = plan.with_suffix('.partial')
    partial.write_text(json.dumps({'minutes': minutes, 'n_steps': n_steps}))
    partial.replace(plan)
    return n_steps


def _forget_after(log: Path, step: int) -> None:
    """Drop the rows of steps that will be done again."""
    if not log.exists():
        return
    kept = []
    for line in log.read_text().splitlines():
        try:
            if json.loads(line)['step'] <= step:
                kept.append(line)
        except ValueError:
            continue
    log.write_text(''.join(f'{line}\n' for line in kept))


class _Stop:
    """SIGTERM and Ctrl-C while training: the step is finished and the state is saved."""

    def __init__(self) -> None:
        self.asked = False
        self.before: dict[int, Any] = {}

    def is_asked(self) -> bool:
        """Whether one of them came."""
        return self.asked

    def __enter__(self) -> _Stop:
        def note(signum: int, frame: Any) -> None:
            self.asked = True

        # only the main thread may; elsewhere (tests) nobody sends signals
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
