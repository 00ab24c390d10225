"""The training loop: one or two stages, averaged weights, early stopping, and a state from which it continues."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.training.batches import Batch, Material, draw_batch, prepare
from aiida_mlfc.core.potentials.training.identity import model_identity
from aiida_mlfc.core.potentials.training.losses import learned_weighting
from aiida_mlfc.core.potentials.training.ranks import Ranks
from aiida_mlfc.core.potentials.training.recipe import Recipe, completed
from aiida_mlfc.core.potentials.training.stages import Progress, Stages
from aiida_mlfc.core.potentials.training.terms import TERMS, loss_terms
from aiida_mlfc.core.potentials.training.validation import Validation

__all__ = ['Batch', 'Material', 'Trainer', 'draw_batch', 'loss_terms', 'prepare']

#: in the folder of a training
STATE_FILE = 'training_state.pt'
#: steps over which a report averages
REPORT_INTERVAL = 50


class Trainer:
    """Owns model, optimiser, averaged weights and the random stream; saves all of them, so a resumed run continues.

    :param validation: what early stopping watches; with one, training ends with the best of the validated weights.
    :param note: whatever else a state must share with this run to be continued by it.
    :param ranks: this process among several that train together; all of them make a trainer of the same things.
    """

    def __init__(
        self,
        model: EnergyModel,
        materials: list[Material],
        recipe: Recipe,
        folder: Path,
        validation: Validation | None = None,
        note: str = '',
        ranks: Ranks | None = None,
    ) -> None:
        if recipe.patience and validation is None:
            raise ValueError('patience: there is nothing to validate on; set configurations aside by valid_fraction')
        self.model, self.materials, self.recipe, self.folder = model, materials, recipe, Path(folder)
        self.validation = validation
        self.ranks = ranks or Ranks()
        self.folder.mkdir(parents=True, exist_ok=True)
        #: see :func:`~aiida_mlfc.core.potentials.training.losses.learned_weighting`
        self.log_variances = nn.Parameter(torch.zeros(len(TERMS), dtype=model.dtype, device=model.device))
        matrices = [p for p in model.parameters() if p.ndim > 1]
        others = [p for p in model.parameters() if p.ndim <= 1]
        groups = [{'params': matrices, 'weight_decay': recipe.weight_decay}, {'params': others, 'weight_decay': 0.0}]
        if recipe.learned_weights:
            groups.append({'params': [self.log_variances], 'weight_decay': 0.0})
        self.optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=recipe.betas, amsgrad=recipe.amsgrad)
        self.ranks.start_together(model.state_dict().values())
        self.average = {k: v.detach().clone() for k, v in model.state_dict().items()}
        self.rng = self.ranks.generator(recipe.seed)
        self.stages = Stages(recipe)
        #: a state is continued only if all of this is the same
        self.identity: dict[str, Any] = {
            'recipe': recipe.identity(),
            'model': model_identity(model),
            'data': [f'{material.name} {material.digest}' for material in materials],
        }
        if validation is not None:
            self.identity['data'].append(f'validation {validation.names} {validation.digest}')
        if note:
            self.identity['start'] = note
        if self.ranks.world_size > 1:
            self.identity['processes'] = self.ranks.world_size
        if self.checkpoint.exists():
            self._restore()

    @property
    def checkpoint(self) -> Path:
        return self.folder / STATE_FILE

    @property
    def step(self) -> int:
        """Steps done."""
        return self.stages.at.step

    @property
    def seconds(self) -> float:
        """Spent on them, in all runs."""
        return self.stages.at.seconds

    @property
    def last_step(self) -> int:
        """When training ends, unless it is stopped early."""
        return self.stages.end

    def learning_rate(self) -> float:
        """Of the next step."""
        return self.stages.learning_rate(self.step)

    def run(
        self,
        report: Callable[[dict[str, float]], None] | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Train to the end; afterwards the model holds the averaged weights, with validation the best of them.

        :param report: gets the means of the loss every :data:`REPORT_INTERVAL` steps, and the errors of validations
            (``valid_`` and their names) as rows of their own.
            Of several processes the first one tells, of its own batches.
        :param should_stop: asked after every step, of several processes in the first one; then the state is saved, and
            another run continues.
        :return: whether the end was reached.
        """
        tell = report if report is not None and self.ranks.is_first else lambda row: None
        at = self.stages.at
        started = saved = time.monotonic()
        before = at.seconds
        sums: dict[str, list[float]] = {name: [] for name in TERMS}
        while not at.is_over:
            stage = at.stage
            terms = self._take_step()
            for name, value in zip(TERMS, terms, strict=False):
                sums[name].append(float(value.detach()))
            self.stages.count_step()
            self._update_average()
            at.seconds = before + time.monotonic() - started
            common: dict[str, float] = {'step': at.step, 'seconds': at.seconds, 'stage': stage}
            if at.step % REPORT_INTERVAL == 0 or at.is_over:
                means = {name: float(np.mean(values)) for name, values in sums.items() if values}
                tell({**common, **means, 'learning_rate': self.learning_rate()})
                sums = {name: [] for name in TERMS}
            if self.validation is not None and self.stages.is_time_to_validate():
                found = self.validation(self.model, self.average) if self.ranks.is_first else {}
                (error,) = self.ranks.of_the_first(found.get('frequency_mae', math.nan))
                self.stages.note(error, self.average)
                tell({**common, **{f'valid_{name}': value for name, value in found.items()}})
            is_due = time.monotonic() - saved > self.recipe.checkpoint_interval
            is_due, is_stopped = map(bool, self.ranks.of_the_first(is_due, should_stop() and not at.is_over))
            if is_due or is_stopped:
                self._save()
                saved = time.monotonic()
            if is_stopped:
                return False
        self._save()
        self.model.load_state_dict(self.average if self.stages.best_weights is None else self.stages.best_weights)
        return True

    def _take_step(self) -> tuple[Tensor, ...]:
        """One step of the optimiser.

        :return: the terms of its loss.
        """
        for group in self.optimiser.param_groups:
            group['lr'] = self.learning_rate()
        batch = draw_batch(self.materials, self.recipe, self.rng, self.model, self.stages.at.stage)
        terms = loss_terms(self.model, batch, self.recipe)
        loss = learned_weighting(terms, self.log_variances) if self.recipe.learned_weights else sum(terms)
        assert isinstance(loss, Tensor)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.ranks.average_gradients([*self.model.parameters(), self.log_variances])
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        if not torch.isfinite(loss):
            raise FloatingPointError(f'the loss is {loss.item()} at step {self.step}: lower the learning rate')
        self.optimiser.step()
        return terms

    def _update_average(self) -> None:
        # The average forgets its random start faster than a fixed decay would.
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    def _save(self) -> None:
        streams = self.ranks.all_of(json.dumps(self.rng.bit_generator.state))
        if not self.ranks.is_first:
            return
        state = {
            **self.stages.at.to_dict(),
            'model': self.model.state_dict(),
            'average': self.average,
            'optimiser': self.optimiser.state_dict(),
            'rng': streams[0] if len(streams) == 1 else json.dumps([json.loads(stream) for stream in streams]),
            'identity': json.dumps(self.identity),
        }
        if self.recipe.learned_weights:
            state['log_variances'] = self.log_variances.detach()
        if self.stages.best_weights is not None:
            state['best_weights'] = self.stages.best_weights
        partial = self.checkpoint.with_suffix('.partial')
        torch.save(state, partial)
        os.replace(partial, self.checkpoint)

    def _restore(self) -> None:
        state = torch.load(self.checkpoint, weights_only=True, map_location=self.model.device)
        # through JSON as the stored one: tuples are lists there
        ours, theirs = json.loads(json.dumps(self.identity)), json.loads(state.get('identity', '{}'))
        theirs['recipe'] = completed(theirs.get('recipe', {}))
        different = [name for name in {**ours, **theirs} if theirs.get(name) != ours.get(name)]
        if different:
            said = {
                'recipe': 'another recipe',
                'model': 'other model settings',
                'data': 'other data',
                'start': 'other weights to start from',
                'processes': 'another number of processes',
            }
            raise ValueError(
                f'{self.checkpoint} was written with {" and ".join(said[name] for name in different)}: '
                'remove it, or train in another folder'
            )
        self.model.load_state_dict(state['model'])
        self.average = state['average']
        self.optimiser.load_state_dict(state['optimiser'])
        streams = json.loads(state['rng'])
        self.rng.bit_generator.state = streams[self.ranks.rank] if isinstance(streams, list) else streams
        plain = Progress().to_dict()
        self.stages = Stages(
            self.recipe, Progress(**{name: state.get(name, plain[name]) for name in plain}), state.get('best_weights')
        )
        if self.recipe.learned_weights:
            with torch.no_grad():
                self.log_variances.copy_(state['log_variances'])
