"""Elimination system by system against one dense solution."""

import pytest
import torch

from aiida_mlfc.core.potentials.training.normal_equations import Elimination, NormalEquations


def drawn(generator, columns, n_rows):
    rows = torch.randn(n_rows, len(columns), dtype=torch.float64, generator=generator)
    return rows, torch.randn(n_rows, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize(
    'columns',
    [
        [[0, 1, 2, 3]],
        [[0, 1, 2], [3, 4]],
        [[0, 1, 2, 5], [4, 2, 3], [2, 5, 6, 7]],
        [[1, 0], [0, 1]],
    ],
    ids=['one', 'nothing shared', 'some shared', 'all shared'],
)
@pytest.mark.parametrize('n_rows', [3, 5000], ids=['few rows', 'more than a block'])
def test_the_solution_is_that_of_all_rows_at_once(columns, n_rows):
    generator = torch.Generator().manual_seed(3)
    columns = [torch.tensor(c) for c in columns]
    n = 1 + int(torch.cat(columns).max())
    elimination = Elimination(columns)
    matrix, right, squares = torch.zeros(n, n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64), 0.0
    residual_matrix = torch.zeros_like(matrix)
    systems = []
    for c in columns:
        system = NormalEquations(c)
        for _ in range(2):
            rows, labels = drawn(generator, c, n_rows)
            system.add(rows, labels)
            wide = torch.zeros(n_rows, n, dtype=torch.float64)
            wide[:, c] = rows
            residual_matrix += wide.T @ wide
            right += wide.T @ labels
            squares += float(labels.square().sum())
        small, _ = drawn(generator, c, 4)
        system.hold(small)
        wide = torch.zeros(4, n, dtype=torch.float64)
        wide[:, c] = small
        matrix += wide.T @ wide
        # each system brings its share of the prior of what it shares
        prior = torch.diag(0.1 * (c + 1.0).double() / elimination.uses[c])
        matrix[c, c] += prior.diagonal()
        elimination.add(system, prior)
        systems.append(system)
    expected = torch.linalg.solve(matrix + residual_matrix, right)
    found = elimination.solve()
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-12)
    left = squares + sum(system.left(found[system.columns]) for system in systems)
    exact = squares - 2 * right @ expected + expected @ residual_matrix @ expected
    assert left == pytest.approx(float(exact), rel=1e-9)


def test_a_coefficient_that_no_system_has_is_zero():
    elimination = Elimination([torch.tensor([3, 1])])
    system = NormalEquations(torch.tensor([3, 1]))
    system.add(torch.eye(2, dtype=torch.float64), torch.tensor([6.0, 2.0], dtype=torch.float64))
    elimination.add(system, torch.zeros(2, 2, dtype=torch.float64))
    assert elimination.solve().tolist() == [0.0, 2.0, 0.0, 6.0]
