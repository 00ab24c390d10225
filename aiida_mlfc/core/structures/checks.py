"""What makes a crystal unusable: no volume, no atoms, non-finite numbers, two atoms on one site."""

from __future__ import annotations

import numpy as np
from ase import Atoms

#: Two atoms closer than this (Å) stand on one site: the shortest bond known, H-H, is 0.74 Å.
SHORTEST_DISTANCE = 0.5
#: A cell thinner than this (Å³ per atom) is no crystal: diamond under 1 TPa has about 3 Å³.
SMALLEST_VOLUME_PER_ATOM = 0.5
#: Above this (Å³ per atom) a cell is mostly vacuum or a broken file; solid caesium has about 115 Å³.
LARGEST_VOLUME_PER_ATOM = 1000.0


class StructureError(ValueError):
    """The structure cannot be computed; the message names the reason."""


def check_cell(atoms: Atoms) -> None:
    """Raise a :class:`StructureError` unless ``atoms`` is a finite crystal with a volume.

    :param atoms: the crystal to look at.
    """
    if len(atoms) == 0:
        raise StructureError('the structure holds no atoms')
    cell = np.array(atoms.cell, dtype=float)
    if not (np.isfinite(cell).all() and np.isfinite(atoms.positions).all()):
        raise StructureError('the structure holds positions or cell vectors that are not finite numbers')
    if (atoms.numbers < 1).any():
        raise StructureError('the structure holds a site without an element (dummy atom X)')
    if not atoms.pbc.all():
        raise StructureError(f'wanted a crystal periodic in three directions, got pbc={atoms.pbc.tolist()}')
    volume = abs(np.linalg.det(cell)) / len(atoms)
    if volume < SMALLEST_VOLUME_PER_ATOM:
        raise StructureError(
            f'the cell has {volume:.3g} Å³ per atom, wanted at least {SMALLEST_VOLUME_PER_ATOM}: is the lattice missing?'
        )
    if volume > LARGEST_VOLUME_PER_ATOM:
        raise StructureError(
            f'the cell has {volume:.4g} Å³ per atom, wanted at most {LARGEST_VOLUME_PER_ATOM:g}: vacuum, or a wrong unit?'
        )


def check_distances(atoms: Atoms, i: np.ndarray, j: np.ndarray, distances: np.ndarray) -> None:
    """Raise a :class:`StructureError` if two atoms share one site.

    :param i: centre of each pair, shape ``(n_pairs,)``.
    :param j: neighbour of each pair, shape ``(n_pairs,)``.
    :param distances: their distances, shape ``(n_pairs,)``, Å.
    """
    if distances.size and distances.min() < SHORTEST_DISTANCE:
        k = int(distances.argmin())
        symbols = atoms.get_chemical_symbols()
        raise StructureError(
            f'atoms {i[k]} ({symbols[i[k]]}) and {j[k]} ({symbols[j[k]]}) are {distances[k]:.3g} Å apart, '
            f'wanted at least {SHORTEST_DISTANCE} Å: two atoms on one site'
        )
