"""From an imaginary mode to displaced crystals in the smallest supercell into which its wave fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

import numpy as np
from ase import Atoms

from aiida_mlfc.core.phonons.following.directions import Direction, representation, special_directions
from aiida_mlfc.core.phonons.following.modes import ImaginaryMode
from aiida_mlfc.core.structures.commensurate import MAX_CELLS, Commensurate, commensurate_supercell
from aiida_mlfc.core.structures.operations import operations_of

#: directions of one degenerate set that are followed
MOST_DIRECTIONS = 3


@dataclass(frozen=True)
class Distortion:
    """A supercell and the way in which a mode displaces it.

    :param supercell: without distortion.
    :param field: displacements, shape ``(n_super, 3)``, the largest of which has the length 1.
    """

    mode: ImaginaryMode
    direction: Direction
    supercell: Atoms
    field: np.ndarray

    def at(self, amplitude: float) -> Atoms:
        """The crystal in which the atom that moves most has moved by ``amplitude``, Å."""
        moved = self.supercell.copy()
        moved.positions += amplitude * self.field
        return moved


def supercell_matrix(primitive: Atoms, supercell: Atoms) -> np.ndarray:
    """Lattice vectors of a supercell in those of its primitive cell, integers, one a row, shape ``(3, 3)``."""
    return np.rint(np.array(supercell.cell) @ np.linalg.inv(np.array(primitive.cell))).astype(int)


def moved_from(primitive: Atoms, qpoint: np.ndarray, matrix: np.ndarray, relaxed: Atoms) -> float:
    """How far an atom of a relaxed distortion is from where it was in the crystal that was displaced, at most, Å.

    The strain of the cell and the mean of all displacements are taken out.

    :param primitive: the crystal that was displaced.
    :param matrix: of :func:`supercell_matrix`; the choice among equivalent cells may differ from machine to machine.
    :param relaxed: in the order of atoms of :func:`distortions`.
    """
    cell = np.asarray(matrix) @ np.array(primitive.cell)
    before = commensurate_supercell(primitive, np.asarray(qpoint)).atoms.positions @ np.linalg.inv(cell)
    scaled = relaxed.get_scaled_positions(wrap=False) - before
    scaled -= np.rint(scaled)
    scaled -= scaled.mean(axis=0)
    return float(np.linalg.norm(scaled @ cell, axis=1).max())


def n_cells(qpoint: np.ndarray) -> int:
    """Primitive cells in the smallest supercell into which a wave fits."""
    return lcm(*(Fraction(float(x)).limit_denominator(MAX_CELLS).denominator for x in qpoint))


def real_basis(mode: ImaginaryMode, found: Commensurate, primitive: Atoms) -> np.ndarray:
    """Real mass-weighted displacements that span the modes, orthonormal, shape ``(n_basis, 3 n_super)``.

    u_j(S) = m_j^(-1/2) Re e_j exp(2πi q·(S + s_j)), phonopy's modulation. Cosine and sine waves are the same fields
    where q equals -q; elsewhere each mode gives two.
    """
    scaled = primitive.get_scaled_positions(wrap=False)
    phases = np.exp(2j * np.pi * (found.cells[:, None] + scaled[None]) @ mode.qpoint)
    waves = mode.eigenvectors.reshape(mode.degeneracy, 1, len(primitive), 3) * phases[None, :, :, None]
    waves = waves.reshape(mode.degeneracy, -1)
    _, sizes, fields = np.linalg.svd(np.concatenate((waves.real, waves.imag)), full_matrices=False)
    return fields[sizes > 1e-6 * sizes[0]]


def distortions(
    primitive: Atoms, mode: ImaginaryMode, masses: np.ndarray, symprec: float, most: int = MOST_DIRECTIONS
) -> list[Distortion]:
    """The supercell displaced along each direction that symmetry singles out in a degenerate set.

    :param masses: of the primitive cell, amu, shape ``(n_atoms,)``.
    :param symprec: Å, for the operations of the supercell.
    :param most: directions.
    """
    found = commensurate_supercell(primitive, mode.qpoint)
    basis = real_basis(mode, found, primitive)
    matrices = representation(basis, operations_of(found.atoms, symprec))
    roots = np.sqrt(np.tile(masses, len(found.cells)))[:, None]
    made = []
    for direction in special_directions(matrices, most):
        field = (direction.coefficients @ basis).reshape(-1, 3) / roots
        field = field / np.linalg.norm(field, axis=1).max()
        made.append(Distortion(mode, direction, found.atoms, field))
    return made


def summary(modes: Sequence[ImaginaryMode]) -> list[dict[str, object]]:
    """Wave vector, frequency (THz) and degeneracy of each set."""
    return [
        {'qpoint': [float(x) for x in m.qpoint], 'frequency': m.frequency, 'degeneracy': m.degeneracy} for m in modes
    ]
