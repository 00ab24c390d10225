"""How far a cluster expansion is to be trusted on a crystal: draws from its posterior, calibrated in THz.

What the data leave open, draws of the coefficients show: functions at distances that no crystal learned has, strains,
other structures of the same elements. The size of the residuals is set for each chemical system, so that the spread of
frequencies is as large as their error on configurations that were not learned. What three bodies cannot describe stays
unseen: it is an estimate of scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from aiida_mlfc.core.potentials.dx.model import DXModel
from aiida_mlfc.core.potentials.ensemble import with_coefficients
from aiida_mlfc.core.potentials.training.expansion_rows import terms_among
from aiida_mlfc.core.potentials.training.harmonic_labels import HarmonicCell
from aiida_mlfc.core.potentials.training.uncertainty import CellSpread
from aiida_mlfc.core.potentials.training.validation import frequencies_of, hessian_at_rest

METHOD = (
    'posterior of the cluster expansion, spread scaled for each chemical system to the error of frequencies on '
    'configurations not learned'
)
#: relative residuals of forces to begin with, small enough that no mode becomes unstable
FIRST_SCALE = 0.003
#: systems share coefficients: scales are found in turns
ROUNDS = 4
#: relative difference of spread and error that is left
CALIBRATED = 0.1

#: types of a chemical system
System = tuple[int, ...]


def calibrated_members(
    model: DXModel, draws: Mapping[System, Tensor], cells: Mapping[System, Sequence[HarmonicCell]]
) -> tuple[Tensor, dict[System, tuple[float, float]]]:
    """Members of an ensemble, and how they spread.

    :param model: in float64.
    :param draws: of :func:`~aiida_mlfc.core.potentials.training.expansion_fit.fit_expansion`.
    :param cells: by system, folded from configurations that were not learned; a system without any takes the scale of
        the others.
    :return: differences from the coefficients, shape ``(n_members, n_coefficients)``; for each system with cells the
        rms spread and the rms error of frequencies, THz.
    :raises RuntimeError: if there is nothing to calibrate with, or a spread or an error that is none.
    """
    if not cells or not set(cells) <= set(draws):
        raise RuntimeError(f'uncertainty: got cells of the systems {sorted(cells)}, wanted some of {sorted(draws)}')
    # their mean is the model, so that all of their spread is around it
    centred = {types: some - some.mean(dim=0) for types, some in draws.items()}
    own = {types: [Own(model, cell, centred) for cell in some] for types, some in cells.items()}
    scales = dict.fromkeys(draws, FIRST_SCALE)
    for _ in range(ROUNDS):
        used = dict(scales)
        found = {types: _measured(some, scales) for types, some in own.items()}
        if wrong := [types for types, both in found.items() if not all(0 < x < np.inf for x in both)]:
            raise RuntimeError(f'uncertainty: spread and error of {wrong} are {[found[types] for types in wrong]} THz')
        if all(abs(spread / error - 1) < CALIBRATED for spread, error in found.values()):
            break
        scales |= {types: scales[types] * error / spread for types, (spread, error) in found.items()}
        others = float(np.sqrt(np.mean([scales[types] ** 2 for types in found])))
        scales |= {types: others for types in draws if types not in found}
    return torch.stack([used[types] * some for types, some in centred.items()]).sum(dim=0), found


class Own:
    """A cell with what the model itself says of it, and how its Hessian differs in members.

    :param draws: by system, with a mean of zero.
    """

    def __init__(self, model: DXModel, cell: HarmonicCell, draws: Mapping[System, Tensor]) -> None:
        assert model.expansion is not None
        self.model, self.cell = model, cell
        self.hessian = hessian_at_rest(model, cell)
        self.expected = frequencies_of(cell.hessian, cell.root_masses)
        present = torch.nonzero(cell.graph.atom_types.sum(0))[:, 0].tolist()
        columns = terms_among(model.expansion, present).columns
        self.draws = {types: some for types, some in draws.items() if some[:, columns].any()}
        self.n_members = len(next(iter(draws.values())))
        self._of: dict[System, np.ndarray] = {}

    def of_members(self, scales: Mapping[System, float]) -> np.ndarray:
        """Differences of the members' Hessians, shape ``(n_members, 3n, 3n)``, eV/Å²; linear in every scale."""
        if len(self.draws) > ROUNDS:
            # that of the sum, in every round, is cheaper than one of each system
            return self._differences(torch.stack([scales[types] * some for types, some in self.draws.items()]).sum(0))
        total = np.zeros((self.n_members, *self.hessian.shape))
        for types, some in self.draws.items():
            if types not in self._of:
                self._of[types] = self._differences(FIRST_SCALE * some) / FIRST_SCALE
            total += scales[types] * self._of[types]
        return total

    def _differences(self, members: Tensor) -> np.ndarray:
        assert self.model.expansion is not None
        coefficients = self.model.expansion.coefficients
        copies = (with_coefficients(self.model, coefficients + difference) for difference in members)
        return np.array([hessian_at_rest(copy, self.cell) - self.hessian for copy in copies])


def _measured(cells: Sequence[Own], scales: Mapping[System, float]) -> tuple[float, float]:
    """Root mean square spread and error over modes and cells, THz."""
    both = [
        CellSpread(own.hessian, own.of_members(scales), own.cell.root_masses, own.expected).squares(1.0)
        for own in cells
    ]
    spreads, errors = zip(*both, strict=True)
    return float(np.sqrt(np.concatenate(spreads).mean())), float(np.sqrt(np.concatenate(errors).mean()))
