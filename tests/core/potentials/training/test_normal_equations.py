"""Elimination system by system against one dense solution."""

import pytest
import torch

from aiida_mlfc.core.potentials.training import normal_equations
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
@pytest.mark.parametrize('width', [2, 1024], ids=['several blocks of columns', 'one'])
def test_the_solution_is_that_of_all_rows_at_once(columns, n_rows, width, monkeypatch):
    monkeypatch.setattr(normal_equations, '_WIDTH', width)
    generator = torch.Generator().manual_seed(3)
    columns = [torch.tensor(c) for c in columns]
    n = 1 + int(torch.cat(columns).max())
    elimination = Elimination(columns)
    matrix, right, squares = torch.zeros(n, n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64), 0.0
    residual_matrix, held = torch.zeros_like(matrix), torch.zeros_like(right)
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
        for known in (False, True):
            small, near = drawn(generator, c, 4)
            system.hold(small, near if known else None)
            wide = torch.zeros(4, n, dtype=torch.float64)
            wide[:, c] = small
            matrix += wide.T @ wide
            held += wide.T @ near * known
        # each system brings its share of the prior of what it shares
        prior = 0.1 * (c + 1.0).double() / elimination.uses[c]
        matrix[c, c] += prior
        elimination.add(system, [torch.diag(prior[:1]), torch.diag(prior[1:])])
        systems.append(system)
    expected = torch.linalg.solve(matrix + residual_matrix, right + held)
    found, _ = elimination.solve()
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-12)
    left = squares + sum(system.left(found[system.columns]) for system in systems)
    exact = squares - 2 * right @ expected + expected @ residual_matrix @ expected
    assert left == pytest.approx(float(exact), rel=1e-9)


def test_a_coefficient_that_no_system_has_is_zero():
    elimination = Elimination([torch.tensor([3, 1])])
    system = NormalEquations(torch.tensor([3, 1]))
    system.add(torch.eye(2, dtype=torch.float64), torch.tensor([6.0, 2.0], dtype=torch.float64))
    elimination.add(system, [])
    assert elimination.solve()[0].tolist() == [0.0, 2.0, 0.0, 6.0]


@pytest.mark.parametrize('columns', [[[0, 1, 2]], [[0, 1, 2], [2, 3]]], ids=['one', 'shared'])
def test_draws_have_the_covariance_of_the_posterior(columns):
    """Many draws of all systems together: their covariance is the inverse of the whole matrix, up to noise."""
    generator = torch.Generator().manual_seed(1)
    columns = [torch.tensor(c) for c in columns]
    n = 1 + int(torch.cat(columns).max())
    elimination, matrix = Elimination(columns), torch.zeros(n, n, dtype=torch.float64)
    for seed, c in enumerate(columns):
        system = NormalEquations(c, 20_000, seed)
        for method in (lambda rows, s=system: s.add(rows, rows[:, 0]), system.hold):
            rows, _ = drawn(generator, c, 4)
            method(rows)
            matrix[c[:, None], c] += rows.T @ rows
        blocks = [torch.diag(0.5 / elimination.uses[c].double())]
        matrix[c, c] += blocks[0].diagonal()
        elimination.add(system, blocks)
    _, draws = elimination.solve()
    together = torch.stack(draws).sum(0)
    product = together.T @ together / len(together) @ matrix
    assert torch.allclose(product, torch.eye(n, dtype=torch.float64), atol=0.1)
    if len(draws) == 2:
        # what is not known of one system says something of the other, through what they share
        assert draws[0][:, 3].std() > 0
