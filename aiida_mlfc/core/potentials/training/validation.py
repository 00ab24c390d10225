"""Frequencies of a model against those of configurations it does not learn from: what early stopping watches."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor

from aiida_mlfc.core.potentials.derivatives.rows import directional_responses
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.training.harmonic_labels import HarmonicCell, harmonic_cells
from aiida_mlfc.core.potentials.training.identity import digest_of
from aiida_mlfc.core.potentials.training.references import Reference
from aiida_mlfc.core.units import FREQUENCY_FACTOR_THZ


class Validation:
    """Frequencies at the commensurate q-points of references, against those of their force constants.

    :param references: configurations that are not learned from, enough to determine force constants; these are fitted
        to them alone, or to whole pairs where they are mirrors of what is learned (:meth:`Reference.held_back`).
    :param model: whose cutoff and species the graphs have.
    """

    def __init__(self, references: Sequence[Reference], model: EnergyModel) -> None:
        self.names = [reference.name for reference in references]
        self.cells = [harmonic_cells(reference, model.cutoff, model.species) for reference in references]
        self.digest = digest_of([torch.as_tensor(x) for r in references for x in (r.displacements, r.forces)])

    def __call__(self, model: EnergyModel, weights: dict[str, Tensor] | None = None) -> dict[str, float]:
        """Errors in float64: ``frequency_mae`` and ``frequency_max`` in THz, ``relative_frobenius``.

        The first and the last are means over materials.

        :param weights: state to evaluate in place of the model's own.
        """
        copy = deepcopy(model)
        if weights is not None:
            copy.load_state_dict(weights)
        copy = copy.to(torch.float64).eval().requires_grad_(False)
        rows = [_errors(copy, cells) for cells in self.cells]
        maes, worst, relative = (np.array(column) for column in zip(*rows, strict=True))
        return {
            'frequency_mae': float(maes.mean()),
            'frequency_max': float(worst.max()),
            'relative_frobenius': float(relative.mean()),
        }


def hessian_at_rest(model: EnergyModel, cell: HarmonicCell) -> np.ndarray:
    """The Hessian of the model on a folded cell, shape ``(3n, 3n)``, eV/Å²."""
    graph = cell.graph.to(model.dtype, model.device)
    atoms = np.repeat(np.arange(graph.n_atoms), 3)
    responses, _ = directional_responses(model, graph, atoms, np.tile(np.eye(3), (graph.n_atoms, 1)))
    hessian = -responses.reshape(len(atoms), -1)
    return (hessian + hessian.T) / 2


def frequencies_of(hessian: np.ndarray, root_masses: np.ndarray) -> np.ndarray:
    """Ascending, imaginary ones negative, THz, shape ``(3n,)``."""
    squares = np.linalg.eigvalsh(hessian / np.outer(root_masses, root_masses))
    return np.sign(squares) * np.sqrt(np.abs(squares)) * FREQUENCY_FACTOR_THZ


def _errors(model: EnergyModel, cells: list[HarmonicCell]) -> tuple[float, float, float]:
    differences, deviation, size = [], 0.0, 0.0
    for cell in cells:
        found = hessian_at_rest(model, cell)
        expected = frequencies_of(cell.hessian, cell.root_masses)
        differences.append(np.abs(frequencies_of(found, cell.root_masses) - expected))
        deviation += float(np.sum((found - cell.hessian) ** 2))
        size += float(np.sum(cell.hessian**2))
    together = np.concatenate(differences)
    return float(together.mean()), float(together.max()), float(np.sqrt(deviation / size))
