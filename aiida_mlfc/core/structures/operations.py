"""What the space group does to displacement fields: rotations from spglib, written as a permutation of atoms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import spglib
from ase import Atoms

from aiida_mlfc.core.structures.checks import StructureError


@dataclass(frozen=True)
class Operations:
    """Symmetry operations {W|w} of one cell, as they move its atoms: W s_j + w = s_π(j) + k_j.

    :param rotations: W in reduced coordinates, integers, shape ``(n_ops, 3, 3)``.
    :param cartesian: the same rotations as orthogonal matrices, shape ``(n_ops, 3, 3)``.
    :param permutations: π(j), shape ``(n_ops, n_atoms)``.
    :param cells: k_j, the cell in which atom j lands, integers, shape ``(n_ops, n_atoms, 3)``.
    """

    rotations: np.ndarray
    cartesian: np.ndarray
    permutations: np.ndarray
    cells: np.ndarray

    def __len__(self) -> int:
        return len(self.rotations)

    def images(self, qpoint: np.ndarray) -> np.ndarray:
        """The wave vectors W^-T q to which each operation carries q, reduced coordinates, shape ``(n_ops, 3)``."""
        return _carried(self.rotations, qpoint)

    def moved(self, operation: int, qpoint: np.ndarray, fields: np.ndarray) -> np.ndarray:
        """Bloch fields v_j exp(2πi q·S) after one operation, see :meth:`moved_by`; shape of ``fields``, complex."""
        return self.moved_by(np.array([operation]), qpoint, fields.reshape(-1, fields.shape[-1])).reshape(fields.shape)

    def moved_by(self, operations: np.ndarray, qpoint: np.ndarray, fields: np.ndarray) -> np.ndarray:
        """Bloch fields v_j exp(2πi q·S) after each of some operations: fields of the wave vectors W^-T q.

        v'_π(j) = exp(-2πi q'·k_j) R v_j, since atom j of cell S lands in cell W S + k_j.

        :param operations: their numbers, shape ``(n_chosen,)``.
        :param fields: shape ``(n_fields, 3 n_atoms)``.
        :return: shape ``(n_chosen, n_fields, 3 n_atoms)``, complex.
        """
        q = _carried(self.rotations[operations], qpoint)
        phases = np.exp(-2j * np.pi * (self.cells[operations] @ q[:, :, None])[..., 0])
        vectors = fields.reshape(len(fields), -1, 3) @ self.cartesian[operations].transpose(0, 2, 1)[:, None]
        moved = np.empty(vectors.shape, dtype=complex)
        np.put_along_axis(
            moved, self.permutations[operations][:, None, :, None], vectors * phases[:, None, :, None], axis=2
        )
        return moved.reshape(len(operations), *fields.shape)


def _carried(rotations: np.ndarray, qpoint: np.ndarray) -> np.ndarray:
    """W^-T q of each W, shape ``(n, 3)``."""
    wave_vectors = np.broadcast_to(qpoint, (len(rotations), 3))[..., None]
    return np.linalg.solve(rotations.transpose(0, 2, 1), wave_vectors)[..., 0]


def identity(n_atoms: int) -> Operations:
    """No symmetry but the identity."""
    one = np.eye(3)[None]
    return Operations(one.astype(int), one, np.arange(n_atoms)[None], np.zeros((1, n_atoms, 3), dtype=int))


def operations_of(atoms: Atoms, symprec: float = 1e-5) -> Operations:
    """All operations of a cell as it stands, atoms where they are listed; centring translations included.

    :param symprec: Å.
    :raises StructureError: if spglib finds no symmetry, or an operation of its does not map atoms onto atoms.
    """
    lattice, scaled = np.array(atoms.cell), atoms.get_scaled_positions(wrap=False)
    try:
        found = spglib.get_symmetry((lattice, scaled, atoms.numbers), symprec=symprec)
    except getattr(spglib, 'SpglibError', ()):
        found = None
    if found is None:
        raise StructureError(f'spglib finds no symmetry at symprec {symprec} Å: is the structure broken?')
    rotations, translations = found['rotations'], found['translations']
    cartesian = np.einsum('ji,gjk,lk->gil', lattice, rotations, np.linalg.inv(lattice))
    images = np.einsum('gab,jb->gja', rotations, scaled) + translations[:, None]
    permutations = np.empty(images.shape[:2], dtype=int)
    cells = np.empty(images.shape, dtype=int)
    for g, image in enumerate(images):
        difference = image[:, None] - scaled[None]
        whole = np.rint(difference)
        distance = np.linalg.norm((difference - whole) @ lattice, axis=2)
        distance[atoms.numbers[:, None] != atoms.numbers[None]] = np.inf
        partner = distance.argmin(axis=1)
        if len(set(partner)) < len(partner):
            raise StructureError(
                f'symprec {symprec} Å: an operation of spglib puts two atoms on one site; use a smaller symprec'
            )
        permutations[g] = partner
        cells[g] = whole[np.arange(len(partner)), partner]
    return Operations(rotations, cartesian, permutations, cells)
