"""Least squares of many systems of rows that share some of their columns, and draws of what they leave open.

Coefficients of a chemical system meet those of another only where both have the same elements. What belongs to one
system alone is eliminated there (its Schur complement); what is left is solved together.

With A the matrix of all rows and of the prior, a right side of the covariance A, made of the same rows with random
numbers in place of labels, has a solution of the covariance A⁻¹: a draw from the posterior of Bayesian linear
regression for residuals of size 1 (perturb and optimise, Papandreou and Yuille, NIPS 2010).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

#: rows that are multiplied at once, and columns of the half of a symmetric matrix that is computed
_BLOCK, _WIDTH = 2048, 1024


class NormalEquations:
    """Rᵀ R and Rᵀ y of rows that come a few at a time, and a quadratic form that is no residual.

    :param columns: where the columns of the rows stand among all coefficients, shape ``(n,)``.
    :param n_draws: from the posterior.
    """

    def __init__(self, columns: Tensor, n_draws: int = 0, seed: int = 0) -> None:
        n = len(columns)
        self.columns = columns
        self.matrix = torch.zeros(n, n, dtype=torch.float64)
        self.regular = torch.zeros(n, n, dtype=torch.float64)
        #: Rᵀ y, and a right side for each draw, shape ``(n, 1 + n_draws)``
        self.right = torch.zeros(n, 1 + n_draws, dtype=torch.float64)
        #: Rᵀ y of residuals alone, without what is held
        self._of_residuals = torch.zeros(n, dtype=torch.float64)
        self._random = torch.Generator().manual_seed(seed)
        self._waiting: dict[int, list[Tensor]] = {id(self.matrix): [], id(self.regular): []}

    def add(self, rows: Tensor, labels: Tensor) -> None:
        """Residuals.

        :param rows: shape ``(n_rows, n)``.
        :param labels: shape ``(n_rows,)``.
        """
        self._of_residuals += rows.T @ labels
        self._gather(self.matrix, rows, labels)

    def hold(self, rows: Tensor, labels: Tensor | None = None) -> None:
        """What should be small, or near its labels, and does not count in :meth:`left`.

        :param rows: shape ``(n_rows, n)``.
        :param labels: shape ``(n_rows,)``.
        """
        self._gather(self.regular, rows, torch.zeros(len(rows), dtype=rows.dtype) if labels is None else labels)

    def close(self, blocks: Sequence[Tensor]) -> Tensor:
        """The matrix to solve with, shape ``(n, n)``; what was held is given away with it.

        :param blocks: of the prior, along the diagonal, positive definite, one behind the other.
        """
        for matrix in (self.matrix, self.regular):
            self._multiply(matrix)
            for block in _blocks(matrix):
                matrix[: block.start, block] = matrix[block, : block.start].T
        full, self.regular = self.regular, torch.empty(0, 0, dtype=torch.float64)
        full += self.matrix
        start = 0
        for block in blocks:
            here = slice(start, start + len(block))
            full[here, here] += block
            self.right[here, 1:] += torch.linalg.cholesky(block) @ self._draw(len(block))
            start += len(block)
        return full

    def left(self, solution: Tensor) -> float:
        """What these coefficients take from the sum of squared labels is negative: yᵀy + this is what is left.

        :param solution: shape ``(n,)``, of these columns.
        """
        return float(solution @ self.matrix @ solution - 2 * self._of_residuals @ solution)

    def _draw(self, n: int) -> Tensor:
        return torch.randn(n, self.right.shape[1] - 1, dtype=torch.float64, generator=self._random)

    def _gather(self, matrix: Tensor, rows: Tensor, labels: Tensor) -> None:
        self.right += rows.T @ torch.cat((labels[:, None], self._draw(len(rows))), 1)
        waiting = self._waiting[id(matrix)]
        waiting.append(rows)
        if sum(len(some) for some in waiting) >= _BLOCK:
            self._multiply(matrix)

    def _multiply(self, matrix: Tensor) -> None:
        waiting = self._waiting[id(matrix)]
        if waiting:
            rows = torch.cat(waiting)
            waiting.clear()
            for block in _blocks(matrix):
                matrix[block, : block.stop].addmm_(rows[:, block].T, rows[:, : block.stop])


def _blocks(matrix: Tensor) -> Iterator[slice]:
    n = len(matrix)
    return (slice(start, min(start + _WIDTH, n)) for start in range(0, n, _WIDTH))


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
        self._matrix = torch.zeros(m, m, dtype=torch.float64)
        #: of each system: own columns, places of the others, how these act on its own, right sides of own and others
        self._systems: list[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]] = []

    def add(self, system: NormalEquations, blocks: Sequence[Tensor]) -> None:
        """Eliminate what belongs to this system alone.

        :param blocks: the prior, see :meth:`NormalEquations.close`; where a coefficient is shared, ``uses`` systems
            bring it.
        """
        full = system.close(blocks)
        shared = self.uses[system.columns] > 1
        own, others = torch.nonzero(~shared)[:, 0], torch.nonzero(shared)[:, 0]
        place = self._place[system.columns[others]]
        between = full[own[:, None], others]
        factors = torch.linalg.lu_factor(full[own[:, None], own] if len(others) else full)
        solved = torch.linalg.lu_solve(*factors, torch.cat((between, system.right[own]), 1))
        through, start = solved[:, : len(others)], solved[:, len(others) :]
        self._matrix[place[:, None], place] += full[others[:, None], others] - between.T @ through
        self._systems.append((system.columns[own], place, through, start, system.right[others] - between.T @ start))

    def solve(self) -> tuple[Tensor, list[Tensor]]:
        """All coefficients, zero where no system has one, and what the draws of each system add to them.

        :return: shape ``(n,)``, and for each system ``(n_draws, n)``.
        """
        sides = [side for *_, side in self._systems]
        shared = torch.linalg.solve(self._matrix, torch.cat([self._spread(k, side) for k, side in enumerate(sides)], 1))
        parts = shared.split([side.shape[1] for side in sides], 1)
        mean = torch.stack([part[:, 0] for part in parts]).sum(0)
        solution = self._all(mean[:, None], [start[:, :1] for *_, start, _ in self._systems])[:, 0]
        draws = []
        for k, part in enumerate(parts):
            starts = [
                start[:, 1:] if k == other else torch.zeros_like(start[:, 1:])
                for other, (*_, start, _) in enumerate(self._systems)
            ]
            draws.append(self._all(part[:, 1:], starts).T)
        return solution, draws

    def _spread(self, number: int, side: Tensor) -> Tensor:
        """The right side of one system among all shared coefficients."""
        result = torch.zeros(len(self._shared), side.shape[1], dtype=torch.float64)
        result[self._systems[number][1]] = side
        return result

    def _all(self, shared: Tensor, starts: Sequence[Tensor]) -> Tensor:
        """All coefficients from the shared ones, a column for each right side."""
        result = torch.zeros(len(self.uses), shared.shape[1], dtype=torch.float64)
        result[self._shared] = shared
        for (columns, place, through, _, _), start in zip(self._systems, starts, strict=True):
            result[columns] = start - through @ shared[place]
        return result
