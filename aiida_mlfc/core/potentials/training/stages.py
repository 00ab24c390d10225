"""Where a training stands: its stage, when that ends, and the best weights that a validation has seen."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from aiida_mlfc.core.potentials.training.recipe import Recipe


@dataclass
class Progress:
    """The part of a state that is plain numbers.

    :param step: steps done.
    :param stage: 1 or 2.
    :param begin: step at which the stage began.
    :param is_over: whether the last stage has ended.
    :param best: smallest validation error so far, THz.
    :param best_step: when that was.
    :param n_worse: validations of this stage since the best of them.
    :param best_of_stage: smallest validation error of this stage, THz.
    """

    step: int = 0
    seconds: float = 0.0
    stage: int = 1
    begin: int = 0
    is_over: bool = False
    best: float = math.inf
    best_step: int = 0
    n_worse: int = 0
    best_of_stage: float = math.inf

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass
class Stages:
    """Decides, step by step, what is learned next and how fast."""

    recipe: Recipe
    at: Progress = field(default_factory=Progress)
    best_weights: dict[str, Tensor] | None = None

    def __post_init__(self) -> None:
        self._advance()

    @property
    def planned(self) -> int:
        """Steps of the present stage."""
        return self.recipe.steps_of_stages[self.at.stage - 1]

    @property
    def end(self) -> int:
        """Step at which training ends unless a validation ends it before."""
        after = self.recipe.steps_of_stages[1] if self.at.stage == 1 else 0
        return self.at.begin + self.planned + after

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then a cosine to zero at the last step of the stage."""
        recipe, done = self.recipe, step - self.at.begin
        largest = recipe.learning_rate
        if self.at.stage == 2:
            largest = recipe.stage_two_learning_rate or STAGE_TWO_SHARE * largest
        if done < recipe.warm_up:
            return largest * (done + 1) / recipe.warm_up
        fraction = (done - recipe.warm_up) / max(1, self.planned - recipe.warm_up)
        return largest * 0.5 * (1 + math.cos(math.pi * min(1.0, fraction)))

    def count_step(self) -> None:
        """One more step is done."""
        self.at.step += 1
        self._advance()

    def is_time_to_validate(self) -> bool:
        """Every ``eval_interval`` steps, and at the end."""
        return self.at.is_over or self.at.step % self.recipe.eval_interval == 0

    def note(self, error: float, weights: dict[str, Tensor]) -> None:
        """Take down a validation; without improvement for too long, the stage is over.

        :param error: THz.
        :param weights: those that were validated.
        """
        at = self.at
        if error < at.best:
            at.best, at.best_step = error, at.step
            self.best_weights = {name: value.detach().clone() for name, value in weights.items()}
        at.n_worse = 0 if error < at.best_of_stage else at.n_worse + 1
        at.best_of_stage = min(error, at.best_of_stage)
        if self.recipe.patience and at.n_worse >= self.recipe.patience and not at.is_over:
            self._begin_next()

    def _advance(self) -> None:
        while not self.at.is_over and self.at.step >= self.at.begin + self.planned:
            self._begin_next()

    def _begin_next(self) -> None:
        at = self.at
        if at.stage == 2 or not self.recipe.steps_of_stages[1]:
            at.is_over = True
            return
        at.stage, at.begin, at.n_worse, at.best_of_stage = 2, at.step, 0, math.inf


#: of the learning rate of stage one, where the recipe does not say
STAGE_TWO_SHARE = 0.4
