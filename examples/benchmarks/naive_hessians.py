"""Exact force constants against the naive exact ways with the same model: a loop over 3N rows, the dense vmap Hessian.

Of the loop a few rows are measured and scaled to all 3N. The dense Hessian keeps 3N graphs at once and is for small
cells only.
"""

from __future__ import annotations

import numpy as np
from crystals import Crystal, silicon
from row import Findings, Row
from sides import TOY, ours

#: of the loop, measured
N_ROWS = 6
LOOP, DENSE = 'loop over 3N autograd rows, same model', 'dense vmap Hessian, same model'
SECONDS, MEMORY = 'exact force constants in float64, symmetry known before, CPU s', 'peak memory of them, MiB'


def measure(name: str = TOY, repeats: tuple[int, ...] = (2, 3)) -> Findings:
    """Silicon in the cubic cell of 8 atoms for the dense Hessian, in supercells for the loop."""
    found = Findings()
    with ours('float64', name) as side:
        small = silicon(1)
        exact = side.ask('force_constants', small, repeats=2, arrays=True)
        dense = side.ask('dense_hessian', small, arrays=True)
        accuracy = _accuracy(exact['arrays']['force_constants'], dense['arrays']['hessian'], small)
        found.rows += _rows(small, exact, DENSE, dense['seconds']['all'], dense['memory'], accuracy)
        for n in repeats:
            crystal = silicon(n)
            exact = side.ask('force_constants', crystal, repeats=2, arrays=True)
            loop = side.ask('row_loop', crystal, arrays=True, n_rows=N_ROWS)
            seconds = loop['seconds']['first'] + loop['seconds']['rows'] / N_ROWS * 3 * crystal.n_atoms
            first = loop['arrays']['rows'][:3].transpose(1, 0, 2)[None]
            accuracy = _accuracy(exact['arrays']['force_constants'][:1], first, crystal)
            found.rows += _rows(
                crystal, exact, f'{LOOP}; {N_ROWS} rows measured, scaled', seconds, loop['memory'], accuracy
            )
    return found


def _accuracy(array: np.ndarray, naive: np.ndarray, crystal: Crystal) -> str:
    """Of the rows of primitive atom 0, which is atom 0 of both; phonopy repeats atoms one by one, ASE cell by cell."""
    n_cells, n_unit = int(np.prod(crystal.supercell)), len(crystal.atoms)
    # phonopy: atom-major, x fastest; ASE: cell-major, z fastest
    order = np.arange(n_cells).reshape(crystal.supercell).transpose(2, 1, 0).ravel()
    places = (order[None, :] * n_unit + np.arange(n_unit)[:, None]).ravel()
    wanted = naive[0][places]
    difference = np.linalg.norm(array[0] - wanted) / np.linalg.norm(wanted)
    return f'rows of atom 0 differ by {difference:.0e} relative'


def _rows(crystal: Crystal, exact: dict, peer: str, seconds: float, memory: float, accuracy: str) -> tuple[Row, Row]:
    name = f'naive-{crystal.name}'
    return (
        Row(name, SECONDS, exact['seconds']['alone'], peer, seconds, accuracy),
        Row(name, MEMORY, exact['memory'], peer, memory, accuracy),
    )
