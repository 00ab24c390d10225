"""How far a potential is to be trusted on a crystal: an ensemble of last layers, calibrated in THz.

The energy is linear in the weights w of the last layer, so forces are: F = J w, J from one backward pass a feature.
With residuals of the size s, Bayesian linear regression (Laplace's approximation of the last layer, arXiv:2106.14806)
has the posterior covariance s² (JᵀJ + λ)⁻¹. Members are drawn from it; then s is set anew, so that the spread of
frequencies is as large as their error on configurations that were not learned. What the features themselves get wrong
the ensemble cannot see: it is an estimate of scale, and larger where a crystal is unlike those that were learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from aiida_mlfc.core.potentials.ensemble import last_layer, packed, with_last_weights
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.training.batches import Material
from aiida_mlfc.core.potentials.training.harmonic_labels import HarmonicCell
from aiida_mlfc.core.potentials.training.validation import frequencies_of, hessian_at_rest

#: relative to the mean eigenvalue of JᵀJ: directions of weights that data say nothing about stay within bounds
RIDGE = 1e-4
#: random displacements of each folded cell from which the covariance is made
DRAWS = 2
#: relative difference of spread and error that is left
CALIBRATED = 0.02
MOST_ROUNDS = 100
METHOD = 'last-layer ensemble (Laplace), spread scaled to the error of frequencies on configurations not learned'


def force_features(model: EnergyModel, cell: HarmonicCell, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Forces, and their derivatives with respect to the weights of the last layer.

    :param u: displacements, shape ``(n_atoms, 3)``, Å.
    :return: shapes ``(3 n_atoms,)`` and ``(3 n_atoms, n_features)``, eV/Å.
    """
    graph = cell.graph.to(model.dtype, model.device)
    moved = graph.positions + torch.as_tensor(u, dtype=model.dtype, device=model.device)
    positions = moved.requires_grad_(True)
    layer = last_layer(model)
    weight = layer.weight.detach()
    with torch.enable_grad():
        probe = weight.clone().requires_grad_(True)
        energy = torch.func.functional_call(
            model, {_name_of(model, layer): probe}, (graph.with_positions(positions),)
        ).sum()
        by_weight, by_position = torch.autograd.grad(energy, (probe, positions), create_graph=True)
    columns = []
    for k in range(weight.shape[1]):
        keep = k + 1 < weight.shape[1]
        (gradient,) = torch.autograd.grad(by_weight[0, k], positions, retain_graph=keep)
        columns.append(-gradient.flatten().cpu().numpy())
    return -by_position.detach().flatten().cpu().numpy(), np.array(columns, dtype=float).T


def _name_of(model: EnergyModel, layer: torch.nn.Linear) -> str:
    return next(name for name, parameter in model.named_parameters() if parameter is layer.weight)


def draw_members(
    model: EnergyModel, materials: Sequence[Material], n_members: int, rng: np.random.Generator
) -> np.ndarray:
    """Differences of members from the model, before they are calibrated.

    :param model: in float64.
    :param materials: that were learned from.
    :return: shape ``(n_members, n_features)``.
    """
    n_features = last_layer(model).in_features
    normal, squares, n = np.zeros((n_features, n_features)), 0.0, 0
    for material in materials:
        for cell in material.cells:
            for _ in range(DRAWS):
                u, force, factor = cell.draw('half', rng)
                found, features = force_features(model, cell, u)
                features = features * factor.reshape(-1, 1)
                residual = (found - force.ravel()) * factor.ravel()
                normal += features.T @ features
                squares, n = squares + float(residual @ residual), n + residual.size
    ridge = RIDGE * np.trace(normal) / n_features
    covariance = squares / n * np.linalg.inv(normal + ridge * np.eye(n_features))
    root = np.linalg.cholesky((covariance + covariance.T) / 2)
    drawn = rng.standard_normal((n_members, n_features)) @ root.T
    # their mean is the model, so that all of their spread is around it
    return np.asarray(drawn - drawn.mean(axis=0))


@dataclass(frozen=True)
class CellSpread:
    """Hessians of the model and of members, and what is expected.

    :param hessian: shape ``(3n, 3n)``, eV/Å²; ``of_members`` is the difference from it, ``(n_members, 3n, 3n)``.
    :param expected: frequencies of the reference, THz.
    """

    hessian: np.ndarray
    of_members: np.ndarray
    root_masses: np.ndarray
    expected: np.ndarray

    def squares(self, scale: float) -> tuple[np.ndarray, np.ndarray]:
        """Squared spread over members whose differences are multiplied by ``scale``, and squared error, by mode."""
        found = frequencies_of(self.hessian, self.root_masses)
        several = [frequencies_of(self.hessian + scale * h, self.root_masses) for h in self.of_members]
        return np.square(np.array(several) - found).mean(axis=0), np.square(found - self.expected)


class Spread:
    """Root mean square spread and error of frequencies over modes and cells, for ensembles of any scale.

    Force constants are linear in the last weights: Hessians of members are computed once.

    :param differences: shape ``(n_members, n_features)``.
    :param cells: folded from configurations that were not learned.
    """

    def __init__(self, model: EnergyModel, differences: np.ndarray, cells: Sequence[HarmonicCell]) -> None:
        weights = last_layer(model).weight.detach().cpu().numpy()[0].astype(float)
        self.cells = []
        for cell in cells:
            own = hessian_at_rest(model, cell)
            moved = [hessian_at_rest(with_last_weights(model, weights + d), cell) - own for d in differences]
            expected = frequencies_of(cell.hessian, cell.root_masses)
            self.cells.append(CellSpread(own, np.array(moved), cell.root_masses, expected))

    def at(self, scale: float) -> tuple[float, float]:
        """Spread and error, THz."""
        spreads, errors = zip(*(cell.squares(scale) for cell in self.cells), strict=True)
        return float(np.sqrt(np.concatenate(spreads).mean())), float(np.sqrt(np.concatenate(errors).mean()))

    def calibrated(self) -> float:
        """The scale at which both are equal.

        :raises RuntimeError: if there is none: a spread that does not grow with the scale is none, nor is one of zero,
            or of any size where there is no error.
        """
        scale = 1.0
        for _ in range(MOST_ROUNDS):
            spread, error = self.at(scale)
            if not (0 < spread < np.inf and 0 < error < np.inf):
                # no members that differ, no error to be measured by, or numbers that are none
                break
            if abs(spread / error - 1) < CALIBRATED:
                return scale
            # in proportion for small differences, otherwise where they make modes unstable
            scale *= error / spread
        raise RuntimeError(
            f'uncertainty: the spread of the ensemble is {spread:.3g} THz, wanted {error:.3g}; with '
            'uncertainty_members 0 there is a potential without one'
        )


def uncertainty_entry(
    model: EnergyModel,
    materials: Sequence[Material],
    cells: Sequence[HarmonicCell],
    n_members: int,
    seed: int,
    source: str,
) -> dict[str, Any]:
    """What the card says: the members, and how they were calibrated.

    :param model: trained, in float64.
    :param materials: that were learned from.
    :param cells: folded from configurations that were not.
    :param source: what these are, for the card.
    """
    differences = draw_members(model, materials, n_members, np.random.default_rng(seed))
    measured = Spread(model, differences, cells)
    scale = measured.calibrated()
    spread, error = measured.at(scale)
    return {
        'method': METHOD,
        'n_members': n_members,
        'calibrated on': source,
        'rms error there in THz': error,
        'rms spread there in THz': spread,
        'members': packed(scale * differences),
    }
