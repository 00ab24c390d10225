"""The settings of a training run, with what each one means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

StageTwoLoss = Literal['frobenius', 'relative_frobenius', 'column', 'modes']
#: fields that say how often to save and look, and decide nothing about the weights
_OF_NO_CONSEQUENCE = ('checkpoint_interval',)


@dataclass(frozen=True)
class Recipe:
    """One optimisation from start to end, in one stage or in two.

    Stage one learns forces. Stage two, if there is one, learns products of the Hessian of the folded cells at rest. In
    each stage the learning rate warms up and follows a cosine to zero at its last step.
    """

    seed: int = 0
    n_steps: int = 6000
    learning_rate: float = 5e-3
    #: steps of linear warm-up before the cosine to zero
    warm_up: int = 50
    betas: tuple[float, float] = (0.9, 0.99)
    #: AdamW with the largest of all second moments instead of the running one
    amsgrad: bool = False
    #: AdamW decay on matrices
    weight_decay: float = 1e-4
    #: largest norm of the gradient
    clip: float = 5.0
    #: decay of the exponential moving average of the weights, which is what is evaluated and saved; 0 for none
    ema_decay: float = 0.99
    #: share of displacements of each kind, see ``HarmonicCell.draw``
    white: float = 0.4
    half: float = 0.4
    full: float = 0.2
    #: weight of the ``full`` kind in the loss: relative errors of soft modes are large at first
    full_weight: float = 0.2
    #: whether folded cells are learned from; without them a real supercell is in every step
    folded: bool = True
    #: share of steps of the network to which one real displaced supercell with its DFT forces is added
    supercell_share: float = 0.15
    #: undisplaced primitive cells per step, for which force and stress are zero
    n_undisplaced: int = 3
    #: per GPa², for the undisplaced cells
    stress_weight: float = 2e-3
    #: of the forces of stage one, and of real supercells in both stages
    forces_weight: float = 1.0
    #: per eV² of the energy of an atom, for real supercells whose energy is known
    energy_weight: float = 0.0
    #: weights of energies, forces, rest and stress are learned (arXiv:1705.07115), from 1 in place of those above
    learned_weights: bool = False
    #: factors on the squared residuals of materials, by name; 1 for those not named
    emphasis: dict[str, float] = field(default_factory=dict)
    #: share of the steps after which stage two begins; 1 for none
    start_stage_two: float = 1.0
    #: largest learning rate of stage two; 0 takes 0.4 times that of stage one
    stage_two_learning_rate: float = 0.0
    #: what stage two compares, see :mod:`aiida_mlfc.core.potentials.training.losses`
    stage_two_loss: StageTwoLoss = 'frobenius'
    #: of the Hessian products of stage two
    hessian_weight: float = 1.0
    #: validations without a better one after which a stage ends; 0 for never
    patience: int = 0
    #: steps between validations
    eval_interval: int = 100
    #: seconds between checkpoints
    checkpoint_interval: float = 300.0

    def __post_init__(self) -> None:
        for name, allowed, wanted in (
            ('ema_decay', 0 <= self.ema_decay < 1, '0 (none) up to, not including, 1'),
            ('start_stage_two', 0 <= self.start_stage_two <= 1, 'a share of the steps, 0 to 1 (never)'),
            ('stage_two_loss', self.stage_two_loss in get_args(StageTwoLoss), ', '.join(get_args(StageTwoLoss))),
            ('learning_rate', self.learning_rate > 0, 'above 0'),
            ('clip', self.clip > 0, 'above 0'),
            ('patience', self.patience >= 0, '0 (never) or more'),
            ('eval_interval', self.eval_interval >= 1, '1 or more'),
        ):
            if not allowed:
                raise ValueError(f'{name}: got {getattr(self, name)!r}, wanted {wanted}')

    @property
    def steps_of_stages(self) -> tuple[int, int]:
        """Planned steps of stage one and of stage two."""
        first = round(self.n_steps * self.start_stage_two)
        return first, self.n_steps - first

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as written into the model card."""
        return asdict(self) | {'betas': list(self.betas)}

    def identity(self) -> dict[str, Any]:
        """What two runs must share for one to continue the other."""
        return completed({key: value for key, value in self.to_dict().items() if key not in _OF_NO_CONSEQUENCE})


def completed(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The identity of a recipe that was stored before some settings existed: those had their defaults."""
    plain = Recipe().to_dict()
    known = {f.name for f in fields(Recipe)} - set(_OF_NO_CONSEQUENCE)
    return {**{key: plain[key] for key in known}, **stored}
