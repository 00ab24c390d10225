"""Options of each task with their defaults: the one place where they are documented and checked."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from aiida_mlfc.core.force_constants.record import Method
from aiida_mlfc.exchange.job import JobFileError
from aiida_mlfc.exchange.relaxation_rounds import DEFAULT_OPTIMIZER, DEFAULT_STEPS
from aiida_mlfc.exchange.training_options import TrainOptions, checked
from aiida_mlfc.runner.displace import DisplaceOptions


@dataclass(frozen=True)
class EvaluateOptions:
    """Options of ``task: evaluate``.

    :param elastic: elastic constants, too; 3 n_atoms + 6 products with second derivatives.
    """

    elastic: bool = False
    device: str = 'cpu'
    dtype: str = 'float64'


@dataclass(frozen=True)
class RelaxOptions:
    """Options of ``task: relax``; see :func:`aiida_mlfc.relax`."""

    relax_cell: bool = False
    fmax: float = 1e-6
    smax: float = 1e-3
    steps: int = DEFAULT_STEPS
    symprec: float = 1e-4
    optimizer: Literal['newton', 'bfgs'] = DEFAULT_OPTIMIZER
    device: str = 'cpu'
    dtype: str = 'float64'


@dataclass(frozen=True)
class ForceConstantsOptions:
    """Options of ``task: force_constants``; see :func:`aiida_mlfc.compute_force_constants`.

    :param supercell_matrix: three integers, a 3x3 matrix, or ``auto``; if absent, ``supercell_length`` decides.
    :param supercell_length: smallest distance between parallel faces of the supercell, Å.
    :param max_atoms: refuse larger supercells.
    :param truncation_qpoints: number of q-points at which the truncation error is measured; 0 for none.
    :param tolerance: truncation error at which ``supercell_matrix: auto`` ends its search, THz.
    :param uncertainty: measure it where the potential holds an ensemble; each member costs dynamical matrices on a
        2x2x2 mesh of q-points.
    """

    method: Method = 'autograd'
    distance: float = 0.01
    supercell_matrix: Any = None
    supercell_length: float = 9.5
    max_atoms: int = 600
    truncation_qpoints: int = 4
    tolerance: float = 0.02
    uncertainty: bool = True
    symprec: float = 1e-4
    device: str = 'cpu'
    dtype: str = 'float64'


@dataclass(frozen=True)
class PhononOptions:
    """Options of ``task: phonons``; see :func:`aiida_mlfc.analyse`.

    :param mesh_length: phonopy's mesh number, Å.
    """

    mesh_length: float = 60.0
    points_per_segment: int = 41


@dataclass(frozen=True)
class PhononStepsOptions:
    """Options of ``task: phonon_steps``, those of each step under its name.

    :param relax: None, or left out, to take the structures as they are.
    :raises ValueError: if one step wants another device or precision than the other: the potential is loaded once.
    """

    relax: RelaxOptions | None = None
    force_constants: ForceConstantsOptions = field(default_factory=ForceConstantsOptions)
    phonons: PhononOptions = field(default_factory=PhononOptions)

    def __post_init__(self) -> None:
        if self.relax is None:
            return
        for name in ('device', 'dtype'):
            first, second = getattr(self.relax, name), getattr(self.force_constants, name)
            if first != second:
                raise ValueError(
                    f'option {name}: got {first!r} for relax and {second!r} for force_constants, wanted the same'
                )

    @property
    def device(self) -> str:
        """Of the potential."""
        return self.force_constants.device

    @property
    def dtype(self) -> str:
        """Of the potential."""
        return self.force_constants.dtype


OPTIONS: dict[str, Any] = {
    'evaluate': EvaluateOptions,
    'relax': RelaxOptions,
    'force_constants': ForceConstantsOptions,
    'phonons': PhononOptions,
    'phonon_steps': PhononStepsOptions,
    'train': TrainOptions,
    'displace': DisplaceOptions,
}


#: lengths, tolerances and numbers of things, whatever the task
ABOVE_ZERO = frozenset(
    {
        'fmax',
        'smax',
        'symprec',
        'distance',
        'supercell_length',
        'tolerance',
        'mesh_length',
        'max_atoms',
        'points_per_segment',
    }
)
#: zero stands for none, or for a default
NOT_BELOW_ZERO = frozenset({'steps', 'threshold', 'truncation_qpoints', 'directions', 'minutes'})


def read_options(task: str, values: dict[str, Any]) -> Any:
    """The typed options of a task.

    :raises JobFileError: for an option that the task does not have, a value of the wrong kind, or one out of range:
        not finite, or below zero where it is a length or a tolerance.
    """
    kind = OPTIONS[task]
    known = {f.name: f for f in fields(kind)}
    unknown = set(values) - set(known)
    if unknown:
        raise JobFileError(f'task {task} has no option {", ".join(sorted(unknown))}; it has {", ".join(sorted(known))}')
    if task == 'phonon_steps':
        return _read_steps(values)
    given = {}
    for name, value in values.items():
        _check_range(name, value)
        default = known[name].default
        if known[name].metadata:
            try:
                given[name] = checked(known[name], value)
            except ValueError as error:
                raise JobFileError(str(error)) from error
            continue
        if default is not None and type(default) is not type(value):
            if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
                value = float(value)
            else:
                raise JobFileError(f'option {name}: got {value!r}, wanted a {type(default).__name__}')
        given[name] = value
    try:
        return kind(**given)
    except ValueError as error:
        raise JobFileError(str(error)) from error


def _read_steps(values: dict[str, Any]) -> PhononStepsOptions:
    given = {}
    for step, options in values.items():
        if options is None and step == 'relax':
            continue
        if not isinstance(options, dict):
            raise JobFileError(f'option {step}: got {options!r}, wanted the options of task {step}')
        given[step] = read_options(step, options)
    try:
        return PhononStepsOptions(**given)
    except ValueError as error:
        raise JobFileError(str(error)) from error


def _check_range(name: str, value: Any) -> None:
    """Refuse numbers that every comparison would let pass, NaN, and those that mean nothing.

    :raises JobFileError: for one of them, anywhere in a value.
    """
    if not _is_finite(value):
        raise JobFileError(f'option {name}: got {value!r}, wanted finite numbers')
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if name in ABOVE_ZERO and value <= 0:
            raise JobFileError(f'option {name}: got {value!r}, wanted a number above zero')
        if name in NOT_BELOW_ZERO and value < 0:
            raise JobFileError(f'option {name}: got {value!r}, wanted zero or a number above')


def _is_finite(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_finite(entry) for entry in value)
    if isinstance(value, dict):
        return all(_is_finite(entry) for entry in value.values())
    return not isinstance(value, float) or math.isfinite(value)
