"""A crystal known in closed form: one atom in an fcc cell, central springs to the first and second neighbours."""

from dataclasses import dataclass

import numpy as np
from ase.build import bulk
from phonopy import Phonopy

from aiida_mlfc.core.force_constants.record import ForceConstants, Quality
from aiida_mlfc.core.force_constants.sum_rules import acoustic_sum_residual
from aiida_mlfc.core.structures.cells import to_phonopy
from aiida_mlfc.core.units import FREQUENCY_FACTOR_THZ

LATTICE = 4.05


@dataclass
class SpringCrystal:
    """Φ(R) = -k(|R|) R̂R̂ᵀ, Φ(0) such that the sum vanishes; eV/Å²."""

    first: float = 2.0
    second: float = 0.3
    repeats: int = 4

    def __post_init__(self):
        atoms = bulk('Al', 'fcc', a=LATTICE)
        self.phonon = Phonopy(to_phonopy(atoms), np.diag([self.repeats] * 3), primitive_matrix='P', log_level=0)
        shell = np.array(np.meshgrid(*[range(-2, 3)] * 3)).reshape(3, -1).T
        vectors = shell @ np.array(atoms.cell)
        lengths = np.linalg.norm(vectors, axis=1)
        stiffness = np.where(np.isclose(lengths, LATTICE / 2**0.5), self.first, 0.0)
        stiffness += np.where(np.isclose(lengths, LATTICE), self.second, 0.0)
        self.vectors, self.stiffness = vectors[stiffness != 0], stiffness[stiffness != 0]
        self.atoms = atoms

    @property
    def blocks(self):
        """k R̂R̂ᵀ of each neighbour."""
        units = self.vectors / np.linalg.norm(self.vectors, axis=1)[:, None]
        return self.stiffness[:, None, None] * units[:, :, None] * units[:, None, :]

    def force_constants(self, on_site: float = 0.0) -> ForceConstants:
        """The record; ``on_site`` (eV/Å²) is added to Φ(0), which breaks the sum rule by so much."""
        supercell = self.phonon.supercell
        array = np.zeros((1, len(supercell), 3, 3))
        array[0, 0] += self.blocks.sum(axis=0) + on_site * np.eye(3)
        for vector, block in zip(self.vectors, self.blocks, strict=True):
            scaled = (supercell.positions - supercell.positions[0] - vector) @ np.linalg.inv(supercell.cell)
            (j,) = np.flatnonzero(np.abs(scaled - np.rint(scaled)).max(axis=1) < 1e-6)
            array[0, j] -= block
        quality = Quality('autograd', 'float64', 0.0, acoustic_sum_residual(array), 0.0, 1, 0.0, 0.0)
        return ForceConstants(array, self.atoms, np.diag([self.repeats] * 3), np.eye(3), quality)

    def frequencies(self, qpoints) -> np.ndarray:
        """ω(q), THz, from D(q) = Σ_R k R̂R̂ᵀ (1 - cos q·R) / m; q in reduced coordinates."""
        cell = np.array(self.atoms.cell)
        phases = 2 * np.pi * np.asarray(qpoints) @ np.linalg.inv(cell).T @ self.vectors.T
        matrices = np.einsum('qr,rab->qab', 1 - np.cos(phases), self.blocks) / self.phonon.primitive.masses[0]
        squares = np.linalg.eigvalsh(matrices)
        return np.sign(squares) * np.sqrt(np.abs(squares)) * FREQUENCY_FACTOR_THZ
