"""The cubic perovskite with its octahedral tilts written down by hand: the textbook case of mode following."""

import numpy as np
from ase import Atoms

from aiida_mlfc.core.phonons.following.modes import ImaginaryMode
from aiida_mlfc.core.structures.cells import to_phonopy

LATTICE = 3.9
#: A, B, and the oxygens at the middle of the faces
SITES = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


def cubic() -> Atoms:
    return Atoms('SrTiO3', scaled_positions=SITES, cell=[LATTICE] * 3, pbc=True)


def masses() -> np.ndarray:
    return to_phonopy(cubic()).masses


def mode(qpoint, displacements) -> ImaginaryMode:
    """A degenerate set from its real displacement patterns exp(2πi q·(S + s)) u.

    :param displacements: of the five atoms, one pattern each, shape ``(degeneracy, 5, 3)``.
    """
    roots = np.sqrt(masses())[:, None]
    vectors = (np.asarray(displacements, dtype=float) * roots).reshape(len(displacements), -1)
    return ImaginaryMode(np.array(qpoint), -2.0, vectors / np.linalg.norm(vectors, axis=1)[:, None] + 0j)


def tilts(qpoint, axes) -> ImaginaryMode:
    """Octahedra that turn about each of ``axes``, in neighbouring cells as the wave vector says.

    Each oxygen belongs to one octahedron of its own cell and to the next one along its bond. About a zone-boundary
    wave vector with a component along the bond both turn against each other and move it the same way.
    """
    centre = SITES[1]
    patterns = []
    for axis in np.eye(3)[list(axes)]:
        rotation = np.cross(axis, SITES - centre)
        rotation[:2] = 0
        patterns.append(rotation)
    # the phase at an atom is part of phonopy's eigenvector: for these atoms it is taken out here
    phases = np.exp(-2j * np.pi * SITES @ np.asarray(qpoint))
    found = mode(qpoint, patterns)
    vectors = found.eigenvectors.reshape(len(patterns), 5, 3) * phases[None, :, None]
    return ImaginaryMode(found.qpoint, found.frequency, vectors.reshape(len(patterns), -1))


def polar() -> ImaginaryMode:
    """Ti against the rest, along three axes."""
    patterns = np.zeros((3, 5, 3))
    for axis in range(3):
        patterns[axis, 1, axis] = 1.0
        patterns[axis, [0, 2, 3, 4], axis] = -masses()[1] / masses()[[0, 2, 3, 4]].sum()
    return mode((0.0, 0.0, 0.0), patterns)
