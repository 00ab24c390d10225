"""Labels between the wave vectors of a supercell: slopes of acoustic branches, and elastic constants, come from these.

A supercell says nothing of what lies between, and interactions longer than half of it can be anything there. phonopy's
interpolation does. With dipoles its acoustic branches are much better near Γ, but optical ones split there as no model
of finite reach can have it: acoustic ones are learned with them, optical ones without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from ase import Atoms

from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.training.harmonic_labels import (
    DISPLACEMENT,
    FLOORS,
    SKIN,
    HarmonicCell,
    mesh_and_rotations,
    supercell_matrix,
)
from aiida_mlfc.core.potentials.training.interpolation import interpolated_cell, interpolating_phonopy
from aiida_mlfc.core.potentials.training.references import Reference
from aiida_mlfc.core.structures.sublattices import FoldedCell, irreducible_qpoints, sublattice_of
from aiida_mlfc.core.units import FREQUENCY_FACTOR_THZ

#: branches of a crystal that are acoustic
ACOUSTIC = 3
#: stars of q-points halfway between those of a supercell, and atoms of the cells that hold them
MOST_BETWEEN, MOST_ATOMS = 24, 96
#: how much nearer to Γ than the nearest of them the interpolation is asked whether it makes sense
NEARER = 8
#: THz; less than this below zero is none
IMAGINARY = 0.02
#: of the weight, where it does not (chosen on quartz)
DOUBTED = 0.1


@dataclass
class WaveCell:
    """The smallest cell of a wave vector q, displaced as waves of q alone.

    :param hessian: within these waves, shape ``(3n, 3n)``, eV/Å².
    :param modes: M^-1/2 e of all waves of q, the acoustic ones first, shape ``(n_modes, 3n)``, amu^-1/2.
    :param frequencies: of these, imaginary ones negative, THz.
    :param n_acoustic: modes, each once as cos and once as sin where these differ.
    :param scale: what errors of frequencies are relative to, THz.
    """

    graph: AtomGraph
    hessian: np.ndarray
    modes: np.ndarray
    frequencies: np.ndarray
    n_acoustic: int
    scale: float

    @property
    def kinds(self) -> dict[str, slice]:
        """Which modes are drawn together."""
        n = len(self.frequencies)
        kinds = {'acoustic': slice(0, self.n_acoustic), 'optical': slice(self.n_acoustic, n)}
        return {kind: some for kind, some in kinds.items() if some.start < n}

    def draw(self, kind: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A random wave and its exact forces: u = M^-1/2 D^-1/4 ξ, the residual along modes, weighted by D^-1/4 M^-1/2.

        Of a wrong D its mean square is Σ |δD_ij|² / (ω_i ω_j), i all modes, j those drawn; for i = j that is (2 δω)².
        Other weights would not do: of D^-1/2 on one side alone, coupling between an acoustic and an optical branch
        counts by their ratio more than it changes frequencies.

        :return: displacements ``(n, 3)`` in Å, forces ``(n, 3)`` in eV/Å, factors ``(n_modes, 3n)`` on the residual,
            which make it relative to ``scale``; squares to be summed.
        """
        some = self.kinds[kind]
        roots = np.sqrt(np.maximum(np.abs(self.frequencies), FLOORS['half']) / FREQUENCY_FACTOR_THZ)
        u = rng.standard_normal(some.stop - some.start) @ (self.modes[some] / roots[some, None])
        size = DISPLACEMENT / np.sqrt(np.mean(u * u))
        norm = size * self.scale / FREQUENCY_FACTOR_THZ * (some.stop - some.start) ** 0.5
        return (
            size * u.reshape(-1, 3),
            -(self.hessian @ (size * u)).reshape(-1, 3),
            self.modes / roots[:, None] / norm,
        )


def cells_between(
    reference: Reference, cells: Sequence[HarmonicCell], cutoff: float, species: tuple[int, ...], with_dipoles: bool
) -> list[WaveCell]:
    """Cells between the commensurate q-points, displaced as waves of their q alone.

    Kinds of displacement are ``acoustic``, along the three lowest modes, and ``optical``, along all others; residuals
    are errors of frequencies relative to the root mean square of all. What is interpolated need not be invariant under
    rotation: where it is more unstable than the crystal is at any wave vector of its supercell, or unstable and of
    one-sided displacements, it counts little (:data:`DOUBTED`), and without Born charges nothing.

    :param cells: those of the commensurate q-points.
    :param cutoff: of the model, Å.
    :param with_dipoles: the model has them, so that optical branches are learned with them too.
    :return: that of the longest wave first; none where all of them are large.
    """
    stars = qpoints_between(reference)
    n = len(reference.primitive)
    sizes = np.array([n * abs(round(np.linalg.det(sublattice_of(q)))) for q in stars])
    stars = stars[sizes <= max(MOST_ATOMS, len(reference.supercell))]
    if not len(stars):
        return []
    phonon = interpolating_phonopy(reference, reference.force_constants())
    known = np.concatenate([cell.frequencies for cell in cells])
    phonon.run_qpoints(np.concatenate([_shortest(reference, stars) / NEARER, stars]))
    # third order makes force constants of one side unstable where the crystal is not: Al2S3, -2.8 THz
    believed = 0.0 if reference.one_sided else min(known.min(), 0.0)
    doubted = phonon.qpoints.frequencies.min() < believed - IMAGINARY
    if doubted and reference.born is None:
        return []
    weight = DOUBTED if doubted else 1.0
    chosen = stars[np.unique(np.linspace(0, len(stars) - 1, min(len(stars), MOST_BETWEEN)).round().astype(int))]
    scale = float(np.sqrt(np.mean(known**2) / weight))
    acoustic = [interpolated_cell(phonon, q) for q in chosen]
    optical = acoustic
    if reference.born is not None and not with_dipoles:
        phonon.nac_params = None
        optical = [interpolated_cell(phonon, q) for q in chosen]
    return [
        _joined(one, other, reference.primitive, build_graph(one.atoms, cutoff + SKIN, species), scale)
        for one, other in zip(acoustic, optical, strict=True)
    ]


def qpoints_between(reference: Reference) -> np.ndarray:
    """One q of each star halfway between those of the reference's supercell, and halfway from there to Γ; the nearest
    to Γ first.

    :return: reduced coordinates of the primitive cell, shape ``(n, 3)``.
    """
    mesh, rotations = mesh_and_rotations(reference)
    steps = np.linalg.inv(supercell_matrix(reference))
    halves = [steps @ (np.array(n) / 2) for n in product((0, 1), repeat=3) if any(n)]
    quarters = [steps @ (np.array(n) / 4) for n in product((-1, 0, 1), repeat=3) if any(n)]
    between = [(q + half) % 1 for half in halves for q in mesh] + [q % 1 for q in quarters]
    stars = irreducible_qpoints(np.array(between), rotations)
    lengths = np.linalg.norm(_shortest(reference, stars) @ _reciprocal(reference), axis=1)
    return stars[np.argsort(np.round(lengths, 6), kind='stable')]


def _reciprocal(reference: Reference) -> np.ndarray:
    """Reciprocal vectors of the primitive cell, rows, 1/Å."""
    return np.asarray(np.linalg.inv(np.array(reference.primitive.cell)).T)


def _shortest(reference: Reference, qpoints: np.ndarray) -> np.ndarray:
    """Of all that differ by a reciprocal lattice vector the shortest; of q in [0, 1)."""
    images = qpoints[:, None] - np.array(list(product((0, 1), repeat=3)))
    nearest = np.linalg.norm(images @ _reciprocal(reference), axis=2).argmin(axis=1)
    return images[np.arange(len(qpoints)), nearest]


def _joined(acoustic: FoldedCell, optical: FoldedCell, primitive: Atoms, graph: AtomGraph, scale: float) -> WaveCell:
    """D = V Λ Vᵀ + (1 - V Vᵀ) D' (1 - V Vᵀ) of the waves of one q: V the lowest modes of the one, D' of the other."""
    roots = np.repeat(np.sqrt(acoustic.atoms.get_masses()), 3)
    waves = _bloch_waves(acoustic, primitive)
    of_lowest, of_others = (waves.T @ (_hessian(cell) / np.outer(roots, roots)) @ waves for cell in (acoustic, optical))
    squares, vectors = np.linalg.eigh(of_lowest)
    # cos and sin of a wave are two, but where they are the same
    n_lowest = ACOUSTIC * waves.shape[1] // (3 * len(primitive))
    # the others, as the complement of the lowest has them
    complement = vectors[:, n_lowest:]
    other_squares, turned = np.linalg.eigh(complement.T @ of_others @ complement)
    squares = np.concatenate([squares[:n_lowest], other_squares])
    modes = waves @ np.concatenate([vectors[:, :n_lowest], complement @ turned], axis=1)
    weighted = modes * roots[:, None]
    return WaveCell(
        graph,
        hessian=(weighted * squares) @ weighted.T,
        modes=(modes / roots[:, None]).T,
        frequencies=np.sign(squares) * np.sqrt(np.abs(squares)) * FREQUENCY_FACTOR_THZ,
        n_acoustic=n_lowest,
        scale=scale,
    )


def _hessian(cell: FoldedCell) -> np.ndarray:
    """Symmetric, shape ``(3n, 3n)``."""
    n = 3 * len(cell.atoms)
    hessian = cell.force_constants.transpose(0, 2, 1, 3).reshape(n, n)
    return np.asarray((hessian + hessian.T) / 2)


def _bloch_waves(cell: FoldedCell, primitive: Atoms) -> np.ndarray:
    """Orthonormal displacements of the cell that are waves of its q, shape ``(3n, 3 n_prim or 6 n_prim)``."""
    inverse = np.linalg.inv(np.array(primitive.cell))
    apart = (cell.atoms.positions[:, None] - primitive.positions[None]) @ inverse
    owner = np.abs(apart - np.rint(apart)).max(axis=2).argmin(axis=1)
    shifts = np.rint(apart[np.arange(len(owner)), owner])
    phases = 2 * np.pi * shifts @ np.array(cell.qpoint)
    of_sites = owner[:, None] == np.arange(len(primitive))
    waves = [np.kron(of_sites * wave(phases)[:, None], np.eye(3)) for wave in (np.cos, np.sin)]
    lengths = [np.linalg.norm(wave, axis=0) for wave in waves]
    # q that is half a reciprocal lattice vector: one of both is nothing at all
    return np.concatenate(
        [wave / length for wave, length in zip(waves, lengths, strict=True) if length.min() > 1e-6], axis=1
    )
