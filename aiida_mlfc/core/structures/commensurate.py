"""The smallest supercell into which a wave fits, not diagonal in general (Lloyd-Williams and Monserrat 2015).

A diagonal supercell for q = (1/4, 1/4, 1/4) holds 64 cells, the smallest one 4: the least common multiple of the
denominators always suffices (https://doi.org/10.1103/PhysRevB.92.184301).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import spglib
from ase import Atoms

#: cells of a supercell beyond which a wave vector is refused
MAX_CELLS = 64
#: a wave vector is this near to the fraction that it stands for
CLOSE = 1e-9


@dataclass(frozen=True)
class Commensurate:
    """A supercell and the cells in it.

    :param atoms: cell by cell, in each the order of the primitive cell; ``n_cells * n_atoms`` of them.
    :param cells: lattice vectors to these cells, the first (0, 0, 0), integers, shape ``(n_cells, 3)``.
    """

    atoms: Atoms
    cells: np.ndarray


def commensurate_supercell(atoms: Atoms, qpoint: np.ndarray, max_cells: int = MAX_CELLS) -> Commensurate:
    """The smallest supercell in which exp(2πi q·S) is periodic, as compact as Niggli's reduction makes it.

    :param qpoint: reduced coordinates, shape ``(3,)``; fractions.
    :param max_cells: refuse larger supercells.
    :raises ValueError: if q is no fraction, or its supercell is too large.
    """
    fractions = [Fraction(float(x)).limit_denominator(max_cells) for x in qpoint]
    if not np.allclose([float(f) for f in fractions], qpoint, rtol=0, atol=CLOSE):
        raise ValueError(
            f'q = {np.asarray(qpoint).tolist()}: wanted fractions with denominators up to {max_cells}, since this '
            'potential needs a supercell into which the wave fits'
        )
    n_cells = math.lcm(*(f.denominator for f in fractions))
    if n_cells > max_cells:
        raise ValueError(
            f'q = {" ".join(map(str, fractions))}: its smallest supercell has {n_cells} cells, wanted at most '
            f'{max_cells}: choose q-points with common denominators, or raise max_cells'
        )
    matrix = _hermite_normal_form(n_cells, fractions)
    # Of an upper triangular matrix the boxes along its diagonal are one of each class of cells.
    ranges = (np.arange(d) for d in matrix.diagonal())
    cells = np.stack(np.meshgrid(*ranges, indexing='ij'), -1).reshape(-1, 3)
    lattice = np.array(atoms.cell)
    compact = spglib.niggli_reduce(matrix @ lattice)
    positions = (atoms.positions[None] + (cells @ lattice)[:, None]).reshape(-1, 3)
    numbers = np.tile(atoms.numbers, n_cells)
    return Commensurate(Atoms(numbers=numbers, positions=positions, cell=compact, pbc=True), cells)


def _hermite_normal_form(n_cells: int, fractions: list[Fraction]) -> np.ndarray:
    """The upper triangular integer matrix of this determinant whose rows have whole products with q."""
    for a in (d for d in range(1, n_cells + 1) if n_cells % d == 0):
        for d in (k for k in range(1, n_cells // a + 1) if (n_cells // a) % k == 0):
            f = n_cells // a // d
            last = [0, 0, f] if (f * fractions[2]).denominator == 1 else None
            middle = next(([0, d, e] for e in range(f) if (d * fractions[1] + e * fractions[2]).denominator == 1), None)
            first = next(
                (
                    [a, b, c]
                    for b in range(d)
                    for c in range(f)
                    if (a * fractions[0] + b * fractions[1] + c * fractions[2]).denominator == 1
                ),
                None,
            )
            if first is not None and middle is not None and last is not None:
                return np.array([first, middle, last])
    raise AssertionError(f'no supercell of {n_cells} cells fits {fractions}: there always is one')
