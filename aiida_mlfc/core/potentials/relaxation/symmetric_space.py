"""Totally symmetric displacements and strains: the coordinates of a relaxation that keeps the space group exactly.

A step q = (a, b) moves atoms and cell together, ``x -> (x + Σ_k a_k U_k) (1 + e + 3/2 e²)`` with ``e = Σ_k b_k S_k``.
The quadratic term makes e the Eulerian strain of Birch (Phys. Rev. 71, 809 (1947), DOI 10.1103/PhysRev.71.809) to
second order. In it the energy of a crystal under pressure is nearly a parabola, and Newton's method needs fewer steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from aiida_mlfc.core.structures.checks import StructureError
from aiida_mlfc.core.structures.symmetry import symmetry_dataset

#: coefficient of e² in the deformation 1 + e + 3/2 e² + ... = (1 - 2e)^(-1/2)
EULERIAN = 1.5


@dataclass(frozen=True)
class SymmetricSpace:
    """An orthonormal basis; it holds along the whole relaxation, since symmetric steps keep the Cartesian operations.

    :param displacements: U, shape ``(n_displacements, n_atoms, 3)``, dimensionless, no uniform translation among them.
    :param strains: S, symmetric, shape ``(n_strains, 3, 3)``, 1/Å; empty at fixed cell.
    """

    displacements: np.ndarray
    strains: np.ndarray

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return len(self.displacements) + len(self.strains)

    def fields(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Displacements ``(n_atoms, 3)``, Å, and Eulerian strain ``(3, 3)`` of ``q``, ``(size,)``, Å."""
        n = len(self.displacements)
        return np.tensordot(q[:n], self.displacements, 1), np.tensordot(q[n:], self.strains, 1)

    def moved(self, atoms: Atoms, q: np.ndarray) -> Atoms:
        """The crystal after the step ``q``."""
        displacements, strain = self.fields(q)
        deformation = np.eye(3) + strain + EULERIAN * strain @ strain
        positions, cell = (atoms.positions + displacements) @ deformation, np.array(atoms.cell) @ deformation
        return Atoms(numbers=atoms.numbers, positions=positions, cell=cell, pbc=True)

    def components(self, of_positions: np.ndarray, of_strain: np.ndarray) -> np.ndarray:
        """Gradient with respect to q, shape ``(size,)``, eV/Å.

        :param of_positions: dE/dx, shape ``(n_atoms, 3)``, eV/Å.
        :param of_strain: dE/dε of a strain ``x -> x (1 + ε)``, shape ``(3, 3)``, eV.
        """
        return np.concatenate(
            [np.tensordot(self.displacements, of_positions, 2), np.tensordot(self.strains, of_strain, 2)]
        )

    def curvature_of_strain(self, virial: np.ndarray, strain: np.ndarray) -> np.ndarray:
        """What the term 3/2 e² adds to the product of the Hessian with ``strain``, shape ``(3, 3)``, eV.

        The strain ε = e + 3/2 e² has the second derivative 3/2 (S S' + S' S), which meets the first derivative of E.
        """
        symmetric = (virial + virial.T) / 2
        return EULERIAN * (symmetric @ strain + strain @ symmetric)


def symmetric_space(atoms: Atoms, symprec: float, relax_cell: bool) -> SymmetricSpace:
    """The totally symmetric subspace of a crystal; spglib finds its operations.

    :param atoms: exactly symmetric, see :func:`aiida_mlfc.core.structures.symmetry.symmetrized`.
    :param symprec: Å.
    :param relax_cell: strains too.
    :raises StructureError: if it finds none, or none that carry atoms onto atoms.
    """
    found = symmetry_dataset(atoms, symprec)
    if found is None:
        raise StructureError(f'spglib finds no symmetry operations at symprec {symprec} Å: is the structure broken?')
    to_cartesian = np.array(atoms.cell).T
    cartesian = [to_cartesian @ rotation @ np.linalg.inv(to_cartesian) for rotation in found.rotations]
    # A group is its translations times one operation for each rotation, and so is the average over it.
    pure = np.flatnonzero((found.rotations == np.eye(3, dtype=int)).all((1, 2)))
    _, representatives = np.unique(found.rotations, axis=0, return_index=True)
    averaged = np.eye(3 * len(atoms))
    for subset in (pure, representatives):
        average = np.zeros((len(atoms), 3, len(atoms), 3))
        for k in subset:
            # the operation carries atom i, and what it does, to its image
            image = _images(atoms, found.rotations[k], found.translations[k], symprec)
            average[image, :, np.arange(len(atoms)), :] += cartesian[k]
        averaged = average.reshape(averaged.shape) / len(subset) @ averaged
    cartesian = [cartesian[k] for k in representatives]
    uniform = np.kron(np.full((len(atoms), len(atoms)), 1 / len(atoms)), np.eye(3))
    # Averages over the group and over all translations commute, so this is a projector: eigenvalues 0 and 1.
    displacements = _kept(averaged - averaged @ uniform).reshape(-1, len(atoms), 3)
    strains = np.zeros((0, 3, 3))
    if relax_cell:
        strains = _kept(_strain_projector(cartesian)).reshape(-1, 3, 3)
    return SymmetricSpace(displacements, strains / _strain_length(atoms))


def _images(atoms: Atoms, rotation: np.ndarray, translation: np.ndarray, symprec: float) -> np.ndarray:
    """The atom onto which an operation carries each atom, shape ``(n_atoms,)``.

    :raises StructureError: if it carries one onto none.
    """
    scaled = atoms.get_scaled_positions()
    difference = scaled[None, :, :] - (scaled @ rotation.T + translation)[:, None, :]
    distances = np.linalg.norm((difference - np.rint(difference)) @ np.array(atoms.cell), axis=2)
    images = distances.argmin(1)
    # Positions were put on the symmetry before; what spglib accepts within symprec may still add up to a little more.
    if distances.min(1).max() > 10 * symprec or len(set(images)) < len(atoms):
        raise StructureError(f'an operation of the space group carries an atom onto no other within {10 * symprec} Å')
    return np.asarray(images)


def _strain_projector(cartesian: list[np.ndarray]) -> np.ndarray:
    """Average of ε -> R ε Rᵀ over the point group, after the antisymmetric part is taken out, shape ``(9, 9)``."""
    swap = np.eye(9).reshape(3, 3, 3, 3).swapaxes(0, 1).reshape(9, 9)
    averaged = np.mean([np.kron(rotation, rotation) for rotation in cartesian], axis=0)
    return np.asarray(averaged @ (np.eye(9) + swap) / 2)


def _kept(projector: np.ndarray) -> np.ndarray:
    """Rows that span the image of a projector."""
    values, vectors = np.linalg.eigh((projector + projector.T) / 2)
    return vectors[:, values > 0.5].T


def _strain_length(atoms: Atoms) -> float:
    """What makes strains lengths: sqrt(N) distances between neighbours.

    A strain ε changes every bond by about ε d, so that stiffnesses along strains and displacements are comparable.
    """
    return float(np.sqrt(len(atoms)) * (atoms.get_volume() / len(atoms)) ** (1 / 3))
