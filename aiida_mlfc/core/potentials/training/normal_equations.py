"""Least squares of many systems of rows that share some of their columns, solved exactly.

Coefficients of a chemical system meet those of another only where both have the same elements. What belongs to one
system alone is eliminated there (its Schur complement); what is left is solved together.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

#: rows that are multiplied at once
_BLOCK = 2048


class NormalEquations:
    """Rᵀ R and Rᵀ y of rows that come a few at a time, and a quadratic form that is no residual.

    :param columns: where the columns of the rows stand among all coefficients, shape ``(n,)``.
    """

    def __init__(self, columns: Tensor) -> None:
        n = len(columns)
        self.columns = columns
        self.matrix = torch.zeros(n, n, dtype=torch.float64)
        self.regular = torch.zeros(n, n, dtype=torch.float64)
        self.right = torch.zeros(n, dtype=torch.float64)
        self._waiting: dict[int, list[Tensor]] = {id(self.matrix): [], id(self.regular): []}

    def add(self, rows: Tensor, labels: Tensor) -> None:
        """Residuals.

        :param rows: shape ``(n_rows, n)``.
        :param labels: shape ``(n_rows,)``.
        """
        self.right += labels @ rows
        self._gather(self.matrix, rows)

    def hold(self, rows: Tensor) -> None:
        """What should be small, beside the residuals.

        :param rows: shape ``(n_rows, n)``.
        """
        self._gather(self.regular, rows)

    def close(self, prior: Tensor) -> Tensor:
        """The matrix to solve with, shape ``(n, n)``; what was held is given away with it.

        :param prior: quadratic form to add, of the same shape; overwritten.
        """
        for matrix in (self.matrix, self.regular):
            self._multiply(matrix)
        full, self.regular = prior.add_(self.regular).add_(self.matrix), torch.empty(0, 0, dtype=torch.float64)
        return full

    def left(self, solution: Tensor) -> float:
        """What these coefficients take from the sum of squared labels is negative: yᵀy + this is what is left.

        :param solution: shape ``(n,)``, of these columns.
        """
        return float(solution @ self.matrix @ solution - 2 * self.right @ solution)

    def _gather(self, matrix: Tensor, rows: Tensor) -> None:
        waiting = self._waiting[id(matrix)]
        waiting.append(rows)
        if sum(len(some) for some in waiting) >= _BLOCK:
            self._multiply(matrix)

    def _multiply(self, matrix: Tensor) -> None:
        waiting = self._waiting[id(matrix)]
        if waiting:
            rows = torch.cat(waiting)
            waiting.clear()
            matrix.addmm_(rows.T, rows)


class Elimination:
    """Solve for the coefficients of all systems together.

    :param columns: of each system, as in :class:`NormalEquations`.
    """

    def __init__(self, columns: Sequence[Tensor]) -> None:
        uses = torch.bincount(torch.cat(list(columns)))
        #: number of systems of each coefficient
        self.uses = uses
        self._shared = torch.nonzero(uses > 1)[:, 0]
        self._place = torch.full((len(uses),), -1)
        self._place[self._shared] = torch.arange(len(self._shared))
        m = len(self._shared)
        self._matrix, self._right = torch.zeros(m, m, dtype=torch.float64), torch.zeros(m, dtype=torch.float64)
        self._systems: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def add(self, system: NormalEquations, prior: Tensor) -> None:
        """Eliminate what belongs to this system alone.

        :param prior: quadratic form of the system's coefficients, shape ``(n, n)``; where a coefficient is shared,
            ``uses`` systems bring it. Overwritten.
        """
        full = system.close(prior)
        shared = self.uses[system.columns] > 1
        own, others = torch.nonzero(~shared)[:, 0], torch.nonzero(shared)[:, 0]
        place = self._place[system.columns[others]]
        between = full[own[:, None], others]
        factors = torch.linalg.lu_factor(full[own[:, None], own] if len(others) else full)
        solved = torch.linalg.lu_solve(*factors, torch.cat((between, system.right[own, None]), 1))
        through, start = solved[:, :-1], solved[:, -1]
        self._matrix[place[:, None], place] += full[others[:, None], others] - between.T @ through
        self._right[place] += system.right[others] - between.T @ start
        self._systems.append((system.columns[own], place, through, start))

    def solve(self) -> Tensor:
        """All coefficients; zero where no system has one."""
        solution = torch.zeros(len(self.uses), dtype=torch.float64)
        shared = torch.linalg.solve(self._matrix, self._right)
        solution[self._shared] = shared
        for columns, place, through, start in self._systems:
            solution[columns] = start - through @ shared[place]
        return solution
