"""The settings of a training run, with what each one means."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """One optimisation from start to end; the learning rate is sized to ``n_steps``."""

    seed: int = 0
    n_steps: int = 6000
    learning_rate: float = 5e-3
    #: steps of linear warm-up before the cosine to zero
    warm_up: int = 50
    betas: tuple[float, float] = (0.9, 0.99)
    #: AdamW decay on matrices
    weight_decay: float = 1e-4
    #: largest norm of the gradient
    clip: float = 5.0
    #: decay of the exponential moving average of the weights, which is what is evaluated and saved
    ema_decay: float = 0.99
    #: share of displacements of each kind, see ``HarmonicCell.draw``
    white: float = 0.4
    half: float = 0.4
    full: float = 0.2
    #: weight of the ``full`` kind in the loss: relative errors of soft modes are large at first
    full_weight: float = 0.2
    #: share of steps to which one real displaced supercell with its DFT forces is added
    supercell_share: float = 0.15
    #: undisplaced primitive cells per step, for which force and stress are zero
    n_undisplaced: int = 3
    #: per GPa², for the undisplaced cells
    stress_weight: float = 2e-3
    #: factors on the squared residuals of materials, by name; 1 for those not named
    emphasis: dict[str, float] = field(default_factory=dict)
    #: seconds between checkpoints
    checkpoint_interval: float = 300.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as written into the model card."""
        return asdict(self) | {'betas': list(self.betas)}
