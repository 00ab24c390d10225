"""Sublattices of a crystal: the smallest cells in which a wave vector is commensurate, and folding onto them.

In the cell whose lattice is L_q = {R : q·R integer} the Γ-point Hessian holds exactly the dynamical matrices at the
multiples of q. It has det = order of q primitive cells, where a supercell would have thousands of atoms.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from ase import Atoms
from ase.geometry import minkowski_reduce


@dataclass(frozen=True)
class FoldedCell:
    """A small cell with the force constants of a supercell folded onto it.

    :param atoms: the cell, ``n`` atoms.
    :param force_constants: Hessian of the cell at Γ, shape ``(n, n, 3, 3)``, eV/Å².
    :param qpoint: the wave vector that fixed the cell, reduced coordinates of the primitive cell.
    """

    atoms: Atoms
    force_constants: np.ndarray
    qpoint: tuple[float, ...]


def commensurate_qpoints(supercell_matrix: np.ndarray) -> np.ndarray:
    """All q with q·R integer for every lattice vector R of the supercell.

    :param supercell_matrix: integers, rows are supercell vectors in primitive vectors, shape ``(3, 3)``.
    :return: reduced coordinates in [0, 1), shape ``(det, 3)``.
    """
    matrix = np.rint(supercell_matrix).astype(int)
    det = abs(round(np.linalg.det(matrix)))
    found = set()
    # q = inverse(matrix) @ integers; the adjugate keeps it exact.
    adjugate = np.rint(np.linalg.inv(matrix) * det).astype(int)
    for integers in product(range(det), repeat=3):
        found.add(tuple((adjugate @ integers) % det))
        if len(found) == det:
            break
    return np.array(sorted(found)) / det


def sublattice_of(qpoint: np.ndarray, tolerance: float = 1e-8) -> np.ndarray:
    """Basis of L_q in primitive vectors, rows, integers, shape ``(3, 3)``; its determinant is the order of q."""
    orders = (n for n in range(1, 1000) if np.allclose(n * qpoint, np.rint(n * qpoint), rtol=0, atol=tolerance))
    if (order := next(orders, 0)) == 0:
        raise ValueError(f'found no sublattice for q = {qpoint}: wanted fractions with denominators below 1000')
    for a, c in ((a, c) for a in range(1, order + 1) for c in range(1, order + 1) if order % (a * c) == 0):
        f = order // (a * c)
        for b, d, e in product(range(c), range(f), range(f)):
            basis = np.array([[a, b, d], [0, c, e], [0, 0, f]])
            phases = basis @ qpoint
            if np.allclose(phases, np.rint(phases), rtol=0, atol=tolerance):
                return basis
    raise ValueError(f'found no sublattice for q = {qpoint}')  # every rational q has one


def fold(supercell: Atoms, force_constants: np.ndarray, primitive: Atoms, qpoint: np.ndarray) -> FoldedCell:
    """Sum supercell force constants over the images that a smaller cell identifies.

    :param supercell: perfect supercell of ``primitive``, ``n_super`` atoms.
    :param force_constants: shape ``(n_super, n_super, 3, 3)``, eV/Å².
    :param qpoint: a q commensurate with the supercell, reduced coordinates of the primitive cell.
    :raises ValueError: if an atom of the supercell does not stand on a site of the small cell.
    """
    basis = sublattice_of(np.asarray(qpoint))
    cell, _ = minkowski_reduce(basis @ np.array(primitive.cell))
    owner, sites = sites_of(cell, supercell.positions, supercell.numbers)
    expected = len(primitive) * round(abs(np.linalg.det(basis)))
    if len(sites) != expected:
        raise ValueError(f'the supercell folds onto {len(sites)} sites, wanted {expected}: are positions perfect?')
    folded = folded_pairs(force_constants, owner, sites)
    small = Atoms(numbers=supercell.numbers[sites], positions=supercell.positions[sites], cell=cell, pbc=True)
    return FoldedCell(small, folded, tuple(float(x) for x in qpoint))


def sites_of(cell: np.ndarray, positions: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Sites of a small cell on which the atoms of a supercell stand.

    :param cell: rows, Å; its lattice holds that of the supercell.
    :param positions: of the atoms, shape ``(n_super, 3)``, Å.
    :param numbers: what tells species apart, shape ``(n_super,)``.
    :return: the site of each atom, shape ``(n_super,)``, and the first atom on each site.
    """
    inverse = np.linalg.inv(cell)
    sites: list[int] = []
    owner = np.empty(len(positions), dtype=int)
    for atom in range(len(positions)):
        for k, site in enumerate(sites):
            shift = (positions[atom] - positions[site]) @ inverse
            if numbers[atom] == numbers[site] and np.abs((shift - np.rint(shift)) @ cell).max() < 1e-3:
                owner[atom] = k
                break
        else:
            owner[atom] = len(sites)
            sites.append(atom)
    return owner, sites


def folded_pairs(of_pairs: np.ndarray, owner: np.ndarray, sites: list[int]) -> np.ndarray:
    """What pairs of a supercell have, force constants for one, summed over the images of the second atom.

    :param of_pairs: shape ``(n_super, n_super, ...)``.
    :param owner: see :func:`sites_of`; likewise ``sites``.
    :return: shape ``(n_sites, n_sites, ...)``.
    """
    folded = np.zeros((len(sites), len(sites), *of_pairs.shape[2:]))
    for atom, site in enumerate(owner):
        folded[:, site] += of_pairs[sites, atom]
    return folded


def irreducible_qpoints(qpoints: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """One q of each star, time reversal included.

    :param qpoints: reduced coordinates, shape ``(n, 3)``.
    :param rotations: rotations of the primitive cell in reduced coordinates (spglib's), shape ``(n_rot, 3, 3)``.
    """
    seen: set[tuple[float, ...]] = set()
    chosen = []
    for q in qpoints:
        key = tuple(np.round(q % 1, 6) % 1)
        if key in seen:
            continue
        chosen.append(q)
        for rotation in rotations:
            for sign in (1, -1):
                seen.add(tuple(np.round((sign * rotation.T @ q) % 1, 6) % 1))
    return np.array(chosen)
