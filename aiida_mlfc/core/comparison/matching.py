"""Are two primitive cells the same crystal, and which atom of one is which of the other?

Lattices are matched by their lengths and angles alone, so orientation, handedness and the choice of primitive vectors
do not matter; then atoms, up to a common shift. Of all ways that with the least strain and displacement is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from ase.geometry import minkowski_reduce
from scipy.optimize import linear_sum_assignment

#: relative change of a length that two descriptions of one crystal may differ by: functionals do by 3 %
LARGEST_STRAIN = 0.06
#: Å; an atom further from its partner stands on another site
LARGEST_SHIFT = 0.6
#: Å; ways that differ by less are equally good (files have five digits)
SAME_SCORE = 1e-4


class ComparisonError(ValueError):
    """Two sets of force constants cannot be compared; the message says why."""


@dataclass(frozen=True)
class Match:
    """How the second crystal becomes the first.

    :param basis: M, integers of determinant ±1: rows M @ cell_b are the partners of the rows of cell_a, up to rotation.
    :param rotation: Q, orthogonal: a Cartesian vector of b becomes Q v; improper for mirror images.
    :param atoms: for each atom of a its partner in b, shape ``(n_atoms,)``.
    :param cells: w, the cell (in the basis of a) in which the shifted partner stands, shape ``(n_atoms, 3)``, integers.
    :param shift: of the origin, in the basis of a.
    :param strain: largest principal strain of b against a.
    :param volume_change: (V_b - V_a) / V_a.
    :param max_displacement: of an atom against its partner at equal reduced coordinates, Å.
    """

    basis: np.ndarray
    rotation: np.ndarray
    atoms: np.ndarray
    cells: np.ndarray
    shift: np.ndarray
    strain: float
    volume_change: float
    max_displacement: float
    score: float = field(default=0.0, repr=False)

    @property
    def is_identity(self) -> bool:
        """Whether nothing has to be done."""
        return bool(
            (self.basis == np.eye(3)).all()
            and (self.atoms == np.arange(len(self.atoms))).all()
            and not self.cells.any()
            and not self.shift.any()
        )


def matches(a: Atoms, b: Atoms) -> list[Match]:
    """The equally best ways to lay b on a, the identity first where it is among them.

    :param a: primitive cell.
    :param b: primitive cell of the other.
    :raises ComparisonError: if they are not the same crystal.
    """
    _check_composition(a, b)
    found: list[Match] = []
    lattices = list(_lattice_maps(np.array(a.cell), np.array(b.cell)))
    if not lattices:
        raise ComparisonError(
            f'the lattices differ by more than {100 * LARGEST_STRAIN:.0f} %: {_lattice(a)} against {_lattice(b)}'
        )
    for basis in lattices:
        found += _site_maps(a, b, basis)
    if not found:
        raise ComparisonError(
            f'the lattices fit, the atoms do not: some stand more than {LARGEST_SHIFT} Å from any partner; '
            'another phase of the same composition?'
        )
    best = min(match.score for match in found)
    equal = [match for match in found if match.score <= best + SAME_SCORE]
    return sorted(equal, key=lambda match: (not match.is_identity, round(match.score / SAME_SCORE)))


def _check_composition(a: Atoms, b: Atoms) -> None:
    from aiida_mlfc.core.structures.formula import reduced_formula

    if reduced_formula(a) != reduced_formula(b):
        raise ComparisonError(f'they are different materials: {reduced_formula(a)} against {reduced_formula(b)}')
    if len(a) != len(b):
        raise ComparisonError(
            f'their primitive cells hold {len(a)} and {len(b)} atoms: another phase, or a distortion that only one '
            'of them has'
        )


def _lattice(atoms: Atoms) -> str:
    lengths = ', '.join(f'{x:.3f}' for x in atoms.cell.lengths())
    angles = ', '.join(f'{x:.1f}' for x in atoms.cell.angles())
    return f'({lengths}) Å ({angles})°, {atoms.get_volume() / len(atoms):.2f} Å³ per atom'


def _lattice_maps(cell_a: np.ndarray, cell_b: np.ndarray) -> Iterator[np.ndarray]:
    """Integer bases of b whose lengths and angles are those of a within the tolerance."""
    reduced, operation = minkowski_reduce(cell_b)
    lengths = np.linalg.norm(cell_a, axis=1)
    reach = lengths.max() * (1 + LARGEST_STRAIN)
    bounds = np.floor(reach * np.linalg.norm(np.linalg.inv(reduced), axis=0) + 1e-9).astype(int)
    grid = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in bounds], indexing='ij'), axis=-1).reshape(-1, 3)
    vectors = grid @ reduced
    sizes = np.linalg.norm(vectors, axis=1)
    near = [np.flatnonzero(np.abs(sizes - length) <= LARGEST_STRAIN * length) for length in lengths]
    dots = cell_a @ cell_a.T
    allowed = 2 * LARGEST_STRAIN * np.outer(lengths, lengths)
    for i in near[0]:
        for j in near[1]:
            if abs(vectors[i] @ vectors[j] - dots[0, 1]) > allowed[0, 1]:
                continue
            fitting = near[2]
            keep = np.abs(vectors[fitting] @ vectors[i] - dots[0, 2]) <= allowed[0, 2]
            keep &= np.abs(vectors[fitting] @ vectors[j] - dots[1, 2]) <= allowed[1, 2]
            for k in fitting[keep]:
                basis = np.array([grid[i], grid[j], grid[k]])
                if abs(round(np.linalg.det(basis))) == 1:
                    yield basis @ operation


def _polar(cell_a: np.ndarray, mapped: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation Q with v_a = Q v_b for column vectors, and the principal stretches of b against a."""
    deformation = np.linalg.inv(cell_a) @ mapped  # rows: mapped = cell_a @ deformation
    left, stretches, right = np.linalg.svd(deformation)
    # deformation = (symmetric) @ R, row vectors: v_b = v_a R, so Q = R
    return left @ right, stretches


def _site_maps(a: Atoms, b: Atoms, basis: np.ndarray) -> Iterator[Match]:
    """Every shift of the origin that lays b on a in one basis."""
    cell_a, cell_b = np.array(a.cell), np.array(b.cell)
    mapped = basis @ cell_b
    same = (basis == np.eye(3)).all() and np.array_equal(cell_a, cell_b)
    rotation, stretches = (np.eye(3), np.ones(3)) if same else _polar(cell_a, mapped)
    strain = float(np.abs(stretches - 1).max())
    if strain > LARGEST_STRAIN:
        return
    there = a.get_scaled_positions(wrap=False)
    here = b.get_scaled_positions(wrap=False)
    if not (basis == np.eye(3)).all():
        here = here @ np.linalg.inv(basis)
    numbers, counts = np.unique(a.numbers, return_counts=True)
    rarest = numbers[counts.argmin()]
    first = int(np.flatnonzero(a.numbers == rarest)[0])
    size = a.get_volume() ** (1 / 3)
    for k in np.flatnonzero(b.numbers == rarest):
        shift = there[first] - here[k]
        # the origin of identical cells stays exactly where it is
        if np.abs(shift).max() < 1e-12:
            shift = np.zeros(3)
        partner = _partners(a, b, there, here + shift, cell_a)
        if partner is None:
            continue
        offset = here[partner] + shift - there
        cells = np.rint(offset).astype(int)
        rigid = (offset - cells).mean(axis=0)
        if np.abs(rigid).max() < 1e-12:
            rigid = np.zeros(3)
        distances = np.linalg.norm((offset - cells - rigid) @ cell_a, axis=1)
        if distances.max() > LARGEST_SHIFT:
            continue
        score = float(np.sqrt(np.mean(distances**2)) + size * np.sqrt(np.mean((stretches - 1) ** 2)))
        yield Match(
            basis,
            rotation,
            partner,
            cells,
            shift - rigid,
            strain,
            float(b.get_volume() / a.get_volume() - 1),
            float(distances.max()),
            score,
        )


def _partners(a: Atoms, b: Atoms, there: np.ndarray, here: np.ndarray, cell: np.ndarray) -> np.ndarray | None:
    """The assignment of atoms of one element to atoms of the same, with the least sum of squared distances."""
    partner = np.empty(len(a), dtype=int)
    for number in np.unique(a.numbers):
        rows, columns = np.flatnonzero(a.numbers == number), np.flatnonzero(b.numbers == number)
        difference = here[columns][None] - there[rows][:, None]
        distances = np.linalg.norm((difference - np.rint(difference)) @ cell, axis=2)
        chosen_rows, chosen = linear_sum_assignment(distances**2)
        # twice: the shift is fixed by one atom here, and may be off by as much itself
        if distances[chosen_rows, chosen].max() > 2 * LARGEST_SHIFT:
            return None
        partner[rows[chosen_rows]] = columns[chosen]
    return partner
