"""Settings of a training, typed and documented once: for the job file, the configuration file and the command line.

Where MACE (https://mace-docs.readthedocs.io) has an option of the same meaning, its name is taken. Steps stand in place
of epochs: labels are drawn anew in every step, so there is no epoch.
"""

# ruff: noqa: RUF009 (what it calls is dataclasses.field)
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

from aiida_mlfc.core import bounded_json

#: what settings of the recipe and of the model are called there
OF_RECIPE = {
    'lr': 'learning_rate',
    'warmup_steps': 'warm_up',
    'weight_decay': 'weight_decay',
    'amsgrad': 'amsgrad',
    'clip_grad': 'clip',
    'ema_decay': 'ema_decay',
    'start_stage_two': 'start_stage_two',
    'stage_two_lr': 'stage_two_learning_rate',
    'stage_two_loss': 'stage_two_loss',
    'hessian_weight': 'hessian_weight',
    'forces_weight': 'forces_weight',
    'energy_weight': 'energy_weight',
    'stress_weight': 'stress_weight',
    'learned_weights': 'learned_weights',
    'patience': 'patience',
    'eval_interval': 'eval_interval',
}
OF_MODEL = {
    'num_channels': 'channels',
    'num_interactions': 'n_layers',
    'r_max': 'cutoff',
    'electrostatics': 'electrostatics',
}
#: share of the steps after which stage two begins, where only ``stage_two`` is said
START_STAGE_TWO = 0.7
#: folder of the job that holds the file of ``foundation_model``, under its own name: official files have no other
START_FOLDER = 'start'
DTYPES = ('float32', 'float64')


def _setting(default: Any, kind: type, text: str, choices: tuple[str, ...] | None = None) -> Any:
    """A field; ``default`` None stands for what the recipe or the data suggest."""
    return field(default=default, metadata={'kind': kind, 'help': text, 'choices': choices})


@dataclass(frozen=True)
class TrainOptions:
    """Options of ``task: train``; what each one means stands in its ``help``."""

    name: str = _setting('dx', str, 'On the card; the command line takes the name of its output.')
    seed: int = _setting(0, int, 'Of weights and batches; the same seed, data and steps give the same potential.')
    steps: int = _setting(
        0,
        int,
        'Of the network; its learning rate follows a cosine to zero at the last one. 0 takes none beside an expansion, '
        'unless stage_two or valid_fraction ask for some, and 600 to 2500 without one, by what one costs.',
    )
    minutes: float = _setting(
        0.0, float, 'If above zero, as many steps as fit, timed on this machine; steps is then not used.'
    )
    hold_back: bool = _setting(True, bool, 'Learn from every second configuration, measure errors on the others.')
    held_back_materials: Any = _setting(
        None, list, 'Names of force sets that are not learned from at all, nor is any other set of the same crystal.'
    )
    valid_fraction: float = _setting(
        0.0, float, 'Share of the configurations that would be learned from, set aside to validate on during training.'
    )
    E0s: str = _setting(
        'average',
        str,
        'Energies of free atoms: average, by least squares over the energies that are known; zero; or a file, JSON or '
        'YAML, of energies in eV by symbol.',
    )
    foundation_model: Any = _setting(
        None, str, 'Start from the weights of this potential: a name, or a file in the job folder (MatterSim, dx).'
    )
    default_dtype: str = _setting('float32', str, 'Of training; errors are always measured in float64.', DTYPES)
    r_max: Any = _setting(None, float, 'Cutoff of the model, Å; 5 by default.')
    num_channels: Any = _setting(None, int, 'Features of each component; 32 by default.')
    num_interactions: Any = _setting(None, int, 'Attention blocks; 2 by default.')
    electrostatics: Any = _setting(
        None, bool, 'Latent charges: from the Born charges of the force sets, or learned where these have none.'
    )
    expansion: bool = _setting(
        True,
        bool,
        'A cluster expansion to three bodies beside the network, solved for before training and again after it.',
    )
    lr: Any = _setting(None, float, 'Largest learning rate; 0.005 by default.')
    warmup_steps: Any = _setting(None, int, 'Steps of linear warm-up; 50 by default.')
    weight_decay: Any = _setting(None, float, 'Of AdamW, on matrices; 1e-4 by default.')
    amsgrad: Any = _setting(None, bool, 'The AMSGrad variant of AdamW.')
    clip_grad: Any = _setting(None, float, 'Largest norm of the gradient; 5 by default.')
    ema_decay: Any = _setting(None, float, 'Of the moving average of the weights, 0 for none; 0.99 by default.')
    stage_two: bool = _setting(False, bool, 'End with Hessian products instead of forces of displaced cells.')
    start_stage_two: Any = _setting(None, float, 'Share of the steps after which stage two begins; 0.7 by default.')
    stage_two_lr: Any = _setting(None, float, 'Its largest learning rate; 0.4 times that of stage one by default.')
    stage_two_loss: Any = _setting(
        None, str, 'What it compares.', ('frobenius', 'relative_frobenius', 'column', 'modes')
    )
    hessian_weight: Any = _setting(None, float, 'Of the Hessian products of stage two; 1 by default.')
    forces_weight: Any = _setting(None, float, 'Of forces; 1 by default.')
    energy_weight: Any = _setting(None, float, 'Of energies of an atom, where they are known; 0 by default.')
    stress_weight: Any = _setting(None, float, 'Of the stress of cells at rest, 1/GPa²; 0.002 by default.')
    learned_weights: Any = _setting(None, bool, 'Weights of the terms of the loss are learned with the rest.')
    patience: Any = _setting(
        None,
        int,
        'Validations without a better one after which a stage ends, 0 for never; wants valid_fraction.',
    )
    eval_interval: Any = _setting(None, int, 'Steps between validations; 100 by default.')
    uncertainty_members: int = _setting(
        5, int, 'Of the ensemble that says how uncertain the potential is about a crystal; 0 for none.'
    )
    edges_per_step: int = _setting(
        1800, int, 'Folded cells of the materials are added to a step until it has about so many edges.'
    )
    checkpoint_minutes: float = _setting(2.0, float, 'Between states that another run can continue from.')
    model: Any = _setting(None, dict, 'Fields of DXConfig that differ from those that the data suggest.')
    recipe: Any = _setting(None, dict, 'Fields of Recipe, likewise.')
    threads: int = _setting(0, int, 'Of torch; 0 leaves it alone.')
    nproc_per_node: int = _setting(
        1,
        int,
        'Processes that train the network together, as torchrun calls them: GPU 0 and on, or shares of the cores. Each '
        'draws batches of its own, and a step follows the mean of their gradients.',
    )
    device: str = _setting('cpu', str, 'Where it is trained: cpu, cuda, cuda:1.')

    def __post_init__(self) -> None:
        for wrong in self._wrong():
            raise ValueError(wrong)
        for section, names in (('recipe', OF_RECIPE), ('model', OF_MODEL)):
            given = getattr(self, section) or {}
            twice = [
                f'{name} and {section}.{target}'
                for name, target in names.items()
                if getattr(self, name) is not None and target in given
            ]
            if twice:
                raise ValueError(f'{twice[0]} say the same thing: leave one of them out')

    def _wrong(self) -> list[str]:
        wrong = []
        for setting in fields(self):
            value, choices = getattr(self, setting.name), setting.metadata['choices']
            if value is not None and choices and value not in choices:
                wrong.append(f'{setting.name}: got {value!r}, wanted one of {", ".join(choices)}')
        if not 0 <= self.valid_fraction < 1:
            wrong.append(f'valid_fraction: got {self.valid_fraction}, wanted a share from 0 up to, not including, 1')
        if self.nproc_per_node < 1:
            wrong.append(f'nproc_per_node: got {self.nproc_per_node}, wanted 1 or more')
        if self.nproc_per_node > 1 and ':' in self.device:
            wrong.append(f'device: got {self.device} for {self.nproc_per_node} processes, wanted cuda or cpu')
        try:
            self.reference_energies()
        except ValueError as error:
            wrong.append(str(error))
        if self.patience and not self.valid_fraction:
            wrong.append('patience: there is nothing to validate on, give valid_fraction, too')
        if self.start_stage_two is not None and not self.stage_two:
            wrong.append('start_stage_two: there is no stage two unless stage_two is true')
        if self.foundation_model and self.E0s not in ('average', 'zero'):
            wrong.append('foundation_model: its energies of free atoms are fixed, leave out E0s')
        if self.foundation_model and (self.model or any(getattr(self, name) is not None for name in OF_MODEL)):
            wrong.append(f'foundation_model: its architecture is fixed, leave out {", ".join(OF_MODEL)} and model')
        return wrong

    def reference_energies(self) -> str | dict[str, float]:
        """``average``, ``zero``, or what ``E0s`` holds as JSON: energies by symbol, eV.

        :raises ValueError: for anything else.
        """
        if self.E0s in ('average', 'zero'):
            return self.E0s
        wanted = 'wanted average or zero, or energies in eV by symbol, like {"Na": -1.5, "Cl": -2.5}'
        try:
            found = bounded_json.loads(self.E0s)
        except ValueError as error:
            raise ValueError(f'E0s: got {self.E0s!r}, {wanted}') from error
        numbers = found.values() if isinstance(found, dict) else [None]
        if not found or any(isinstance(e, bool) or not isinstance(e, (int, float)) or e - e != 0 for e in numbers):
            raise ValueError(f'E0s: got {self.E0s!r}, {wanted}')
        return {symbol: float(energy) for symbol, energy in found.items()}

    def recipe_changes(self) -> dict[str, Any]:
        """Fields of ``Recipe`` that were set, under either name."""
        found = {target: getattr(self, name) for name, target in OF_RECIPE.items() if getattr(self, name) is not None}
        if self.stage_two:
            found.setdefault('start_stage_two', START_STAGE_TWO)
        return {'checkpoint_interval': 60 * self.checkpoint_minutes, **found, **(self.recipe or {})}

    def model_changes(self) -> dict[str, Any]:
        """Fields of ``DXConfig`` that were set, under either name."""
        found = {target: getattr(self, name) for name, target in OF_MODEL.items() if getattr(self, name) is not None}
        return {**found, **(self.model or {})}


def checked(setting: Field[Any], value: Any) -> Any:
    """A value of the kind that the setting has; whole numbers serve as real ones.

    :raises ValueError: for another kind.
    """
    kind = setting.metadata['kind']
    if value is None and setting.default is None:
        return None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f'option {setting.name}: got {value!r}, wanted a {kind.__name__}')
    return value


def train_options(values: Mapping[str, Any]) -> TrainOptions:
    """Options from plain values.

    :raises ValueError: for one that there is not, of the wrong kind, or out of range.
    """
    known = {setting.name: setting for setting in fields(TrainOptions)}
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f'got {unknown}, wanted keys of {", ".join(known)}')
    return TrainOptions(**{name: checked(known[name], value) for name, value in values.items()})


def commented_defaults() -> str:
    """A configuration file that changes nothing: every setting with its default and what it means, YAML."""
    lines = ['# settings of `aiida-mlfc potential train --config`; a line without a value takes what the help says']
    for setting in fields(TrainOptions):
        assert setting.default is not MISSING
        value = (
            {True: 'true', False: 'false', None: ''}.get(setting.default, setting.default)
            if isinstance(setting.default, bool | None)
            else setting.default
        )
        choices = setting.metadata['choices']
        text = setting.metadata['help'] + (f' One of {", ".join(choices)}.' if choices else '')
        lines += [f'# {text}', f'{setting.name}: {value}'.rstrip()]
    return '\n'.join(lines) + '\n'
