"""What makes a crystal unusable: no volume, no atoms, non-finite numbers, two atoms on one site."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

#: Two atoms closer than this (Å) stand on one site: the shortest bond known, H-H, is 0.74 Å.
SHORTEST_DISTANCE = 0.5
#: A cell thinner than this (Å³ per atom) is no crystal: diamond under 1 TPa has about 3 Å³.
SMALLEST_VOLUME_PER_ATOM = 0.5
#: Above this (Å³ per atom) a cell is mostly vacuum or a broken file; solid caesium has about 115 Å³.
LARGEST_VOLUME_PER_ATOM = 1000.0


class StructureError(ValueError):
    """The structure cannot be computed; the message names the reason."""


class UnknownSpeciesError(ValueError):
    """The structure holds an element that the potential was not trained on."""


def check_species(numbers: np.ndarray, species: Sequence[int]) -> None:
    """Raise an :class:`UnknownSpeciesError` naming the elements that are not among ``species``.

    :param numbers: atomic numbers, shape ``(n_atoms,)``.
    :param species: atomic numbers the potential knows.
    """
    unknown = sorted({int(z) for z in numbers} - {int(z) for z in species})
    if unknown:
        got = ', '.join(chemical_symbols[z] if z < len(chemical_symbols) else f'Z={z}' for z in unknown)
        # MatterSim has a column 0, which stands for no element
        known = ' '.join(chemical_symbols[z] for z in sorted(species) if z)
        raise UnknownSpeciesError(
            f'the potential does not know {got}; it was trained on {known}. Use a potential that knows these elements.'
        )


def check_structure(atoms: Atoms) -> None:
    """:func:`check_cell`, and no two atoms on one site."""
    # Here and not above: it imports torch where there is one, and daemons need none.
    from vesin import NeighborList

    check_cell(atoms)
    search = NeighborList(cutoff=2 * SHORTEST_DISTANCE, full_list=True)
    i, j, distances = search.compute(points=atoms.positions, box=np.array(atoms.cell), periodic=True, quantities='ijd')
    check_distances(atoms, i, j, distances)


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
            f'the cell has {volume:.3g} Å³ per atom, wanted at least {SMALLEST_VOLUME_PER_ATOM}: '
            'is the lattice missing?'
        )
    if volume > LARGEST_VOLUME_PER_ATOM:
        raise StructureError(
            f'the cell has {volume:.4g} Å³ per atom, wanted at most {LARGEST_VOLUME_PER_ATOM:g}: '
            'vacuum, or a wrong unit?'
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
