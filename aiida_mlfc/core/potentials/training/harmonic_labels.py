"""Exact force labels at any displacement: -Φ u on the smallest commensurate cells of a reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import spglib

from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.training.interpolation import interpolated_cell, interpolating_phonopy
from aiida_mlfc.core.potentials.training.references import Reference
from aiida_mlfc.core.structures.sublattices import FoldedCell, commensurate_qpoints, fold, irreducible_qpoints
from aiida_mlfc.core.units import FREQUENCY_FACTOR_THZ

#: root mean square of the random displacements, Å
DISPLACEMENT = 0.01
#: graphs are built once with this margin (Å), so that displaced atoms lose no neighbour
SKIN = 0.12
#: below these frequencies (THz) soft modes are not drawn larger still
FLOORS = {'half': 0.5, 'full': 1.5}
#: eV/Å²; what a fit to forces of zero leaves in the last digits is no force constant
SMALLEST_CONSTANT = 1e-8


@dataclass
class HarmonicCell:
    """A folded cell ready to give labelled batches.

    :param hessian: shape ``(3n, 3n)``, eV/Å².
    :param root_masses: of each coordinate, shape ``(3n,)``, amu^1/2.
    :param generators: for each kind of displacement, what makes it of white noise.
    :param norms: how the residual of each kind of displacement is made dimensionless, see :meth:`draw`.
    :param modes: M^-1/2 e of all modes but the translations, shape ``(3n - 3, 3n)``.
    :param frequencies: of these, imaginary ones negative, THz.
    """

    graph: AtomGraph
    hessian: np.ndarray
    root_masses: np.ndarray
    generators: dict[str, np.ndarray]
    norms: dict[str, float]
    modes: np.ndarray
    frequencies: np.ndarray

    def draw(self, kind: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A random displacement with its exact forces.

        ``white``: every coordinate alike, residual in units of the rms force. ``half``: u = M^-1/2 D^-1/2 ξ with the
        residual weighted by M^-1/2, so that the loss is an error of frequencies. ``full``: u = M^-1/2 D^-1 ξ, relative
        errors of squared frequencies: soft modes count like hard ones.

        :return: displacements ``(n, 3)`` in Å, forces ``(n, 3)`` in eV/Å, factors ``(n, 3)`` on the residual.
        """
        u = self.generators[kind] @ rng.standard_normal(self.generators[kind].shape[1])
        scale = DISPLACEMENT / np.sqrt(np.mean(u * u))
        u = u * scale
        factors = np.full_like(u, 1 / (self.norms[kind] * scale))
        if kind != 'white':
            factors = factors / self.root_masses
        return self._labelled(u, factors)

    def draw_column(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One coordinate displaced: a column of the Hessian; result as of :meth:`draw`."""
        u = np.zeros(len(self.hessian))
        u[rng.integers(len(u))] = DISPLACEMENT
        return self._labelled(u, np.full_like(u, np.sqrt(len(u)) / (self.norms['white'] * DISPLACEMENT)))

    def draw_mode(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A mode v = M^-1/2 e; factors make an error of its frequency relative to the rms frequency.

        :return: v in amu^-1/2, -Φ v, factors in 1/THz; each of shape ``(n, 3)``.
        """
        u = self.modes[rng.integers(len(self.modes))]
        return self._labelled(u, np.full_like(u, 1 / np.sqrt(np.mean(self.frequencies**2))))

    def _labelled(self, u: np.ndarray, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return u.reshape(-1, 3), -(self.hessian @ u).reshape(-1, 3), factors.reshape(-1, 3)


def prepare_cell(cell: FoldedCell, cutoff: float, species: tuple[int, ...]) -> HarmonicCell:
    """Graph, modes, and what draws displacements of every kind."""
    n = len(cell.atoms)
    hessian = cell.force_constants.transpose(0, 2, 1, 3).reshape(3 * n, 3 * n)
    hessian = (hessian + hessian.T) / 2
    root_masses = np.repeat(np.sqrt(cell.atoms.get_masses()), 3)
    eigenvalues, vectors = np.linalg.eigh(hessian / np.outer(root_masses, root_masses))
    # rigid translations carry no force; they are the modes nearest to zero
    inner = np.sort(np.argsort(np.abs(eigenvalues))[3:])
    values, modes = np.abs(eigenvalues[inner]), vectors[:, inner]
    generators, norms = {'white': np.eye(3 * n)}, {'white': float(np.sqrt(np.mean(hessian**2) * 3 * n))}
    for kind, power in (('half', -0.5), ('full', -1.0)):
        floor = (FLOORS[kind] / FREQUENCY_FACTOR_THZ) ** 2
        drawn = np.maximum(values, floor) ** power
        generators[kind] = (modes * drawn) @ modes.T / root_masses[:, None]
        norms[kind] = float(np.sqrt(np.sum((values * drawn) ** 2) / (3 * n)))
    graph = build_graph(cell.atoms, cutoff + SKIN, species)
    squares = eigenvalues[inner] * FREQUENCY_FACTOR_THZ**2
    frequencies = np.sign(squares) * np.sqrt(np.abs(squares))
    return HarmonicCell(graph, hessian, root_masses, generators, norms, (modes / root_masses[:, None]).T, frequencies)


def harmonic_cells(
    reference: Reference, cutoff: float, species: tuple[int, ...], extra_qpoints: Sequence[Sequence[float]] = ()
) -> list[HarmonicCell]:
    """One folded cell for every star of commensurate q-points of the reference.

    :param cutoff: of the model, Å.
    :param species: atomic numbers in the model's order.
    :param extra_qpoints: off the reference's mesh, where phonopy's interpolation gives the labels.
    :raises ValueError: if the supercell holds one atom, or all force constants are zero.
    """
    if len(reference.supercell) == 1:
        raise ValueError(f'{reference.name}: a supercell of one atom has no force constants to learn')
    mesh, rotations = mesh_and_rotations(reference)
    force_constants = reference.force_constants()
    if np.abs(force_constants).max() < SMALLEST_CONSTANT:
        # every loss is relative to the force constants
        raise ValueError(f'{reference.name}: all force constants are zero, wanted those of a crystal: are the forces?')
    folded = [
        fold(reference.supercell, force_constants, reference.primitive, q) for q in irreducible_qpoints(mesh, rotations)
    ]
    if extra_qpoints:
        phonon = interpolating_phonopy(reference, force_constants)
        folded += [interpolated_cell(phonon, np.asarray(q)) for q in extra_qpoints]
    # A cell of one atom, Γ of an element, moves as a whole: no force, nothing to learn.
    return [prepare_cell(cell, cutoff, species) for cell in folded if len(cell.atoms) > 1]


def supercell_matrix(reference: Reference) -> np.ndarray:
    """Supercell vectors in primitive vectors, rows, integers."""
    return np.asarray(np.rint(np.array(reference.supercell.cell) @ np.linalg.inv(np.array(reference.primitive.cell))))


def mesh_and_rotations(reference: Reference) -> tuple[np.ndarray, np.ndarray]:
    """Commensurate q-points, and the rotations of the primitive cell, both in reduced coordinates."""
    primitive = reference.primitive
    spglib_cell = (np.array(primitive.cell), primitive.get_scaled_positions(), primitive.numbers)
    rotations = spglib.get_symmetry_dataset(spglib_cell, symprec=1e-4).rotations
    return commensurate_qpoints(supercell_matrix(reference)), rotations
