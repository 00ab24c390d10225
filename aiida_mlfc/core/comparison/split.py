"""Which part of a disagreement with a reference is numerics, which the model, which the geometry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from aiida_mlfc.core.comparison.alignment import canonical
from aiida_mlfc.core.comparison.compare import Compared, compare
from aiida_mlfc.core.comparison.matching import ComparisonError
from aiida_mlfc.core.comparison.nac import NacPolicy
from aiida_mlfc.core.force_constants.record import ForceConstants

#: central differences are off by the square of their step
ORDER = 2


@dataclass(frozen=True)
class Part:
    """One comparison of the split, in short.

    :param relative_frobenius: None where the supercells differ.
    :param frequency_mae: on the common mesh, THz.
    :param frequency_max_error: THz.
    :param max_frequency_error: K.
    :param free_energy_error: at 300 K, kJ/mol.
    """

    relative_frobenius: float | None
    frequency_mae: float
    frequency_max_error: float
    max_frequency_error: float
    free_energy_error: float


@dataclass(frozen=True)
class Split:
    """Errors of a potential against a reference, taken apart.

    :param numerical: finite differences against autograd, by the step in Å: the same model, the same geometry.
    :param numerical_order: the power of the step with which their difference grows; 2 for central differences while
        rounding does not take over. None without two steps that differ.
    :param model: autograd at the reference's geometry against the reference.
    :param relaxation: autograd at the potential's own geometry against autograd at the reference's.
    :param total: autograd at the potential's own geometry against the reference.
    """

    numerical: dict[float, Part]
    numerical_order: float | None
    model: Part
    relaxation: Part | None
    total: Part | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, steps as text."""
        content = asdict(self)
        content['numerical'] = {f'{step:g}': part for step, part in content['numerical'].items()}
        return content


def split(
    reference: ForceConstants,
    autograd: ForceConstants,
    finite_differences: Mapping[float, ForceConstants] | None = None,
    own_geometry: ForceConstants | None = None,
    nac: NacPolicy = 'shared',
    name: str = '',
) -> tuple[Split, Compared]:
    """Take the error of a potential apart.

    :param reference: of DFT.
    :param autograd: of the potential, at the reference's geometry.
    :param finite_differences: of the potential, at the same geometry, by the step in Å.
    :param own_geometry: autograd at the geometry the potential relaxes to.
    :return: the parts, and the comparison at the reference's geometry in full.
    :raises ComparisonError: if they are not the same crystal, or finite differences are of another supercell.
    """
    exact, target = canonical(autograd), canonical(reference)
    model = compare(target, exact, name, nac)
    numerical = {}
    for step, given in sorted((finite_differences or {}).items()):
        # Born charges change nothing here, and are left out of both.
        found = compare(exact, given, name, 'off')
        if found.summary.force_constants is None:
            raise ComparisonError(f'finite differences with step {step} Å: {found.summary.no_force_constants}')
        numerical[step] = _part(found)
    relaxation = total = None
    if own_geometry is not None:
        relaxed = canonical(own_geometry)
        relaxation, total = _part(compare(exact, relaxed, name, 'off')), _part(compare(target, relaxed, name, nac))
    return Split(numerical, _order(numerical), _part(model), relaxation, total), model


def _part(found: Compared) -> Part:
    row = found.summary.row()
    return Part(**{key: row[key] for key in Part.__dataclass_fields__})


def _order(numerical: dict[float, Part]) -> float | None:
    """log(error ratio) / log(step ratio) of the smallest and the largest step."""
    steps = [(step, part.relative_frobenius) for step, part in numerical.items() if part.relative_frobenius]
    if len(steps) < 2:
        return None
    (short, small), (long, large) = steps[0], steps[-1]
    return float(np.log(large / small) / np.log(long / short))  # type: ignore[operator]
