"""What the force constants of a crystal will cost, before any potential is loaded: edges times directions.

An exact force constant is a backward pass through the graph of the supercell, once for energy and forces and once more
for each displacement that symmetry leaves. A pass takes a time in proportion to the edges of the graph. Both numbers
follow from the crystal alone: edges from the density, directions from the site symmetries (spglib). It is an estimate:
the other engine (reciprocal space) and the relaxation before it change the factor, so seconds per unit are always taken
from jobs that ran.
"""

from __future__ import annotations

import math

import numpy as np
from ase import Atoms

from aiida_mlfc.core.structures.supercells import supercell_for_length

#: cost of a crystal however small, in edges times directions: reading, symmetry, mesh and bands, files. A choice, not
#: a measurement: it keeps thousands of tiny crystals from looking free.
FIXED_COST = 20_000.0
#: Å; stands for the supercell that ``supercell_matrix: auto`` will find
LENGTH_OF_AUTO = 10.0
#: below this a singular value is rounding
_RANK_TOLERANCE = 1e-6


def independent_directions(atoms: Atoms, symprec: float = 1e-4) -> int:
    """Displacements whose responses determine all others by symmetry: of each inequivalent atom one, two or three.

    The images of a general vector under the operations that keep the atom span a space; further general vectors are
    added until it has three dimensions.

    :param symprec: Å.
    :return: three for each atom where spglib finds no symmetry at all.
    """
    from aiida_mlfc.core.structures.symmetry import symmetry_dataset

    dataset = symmetry_dataset(atoms, symprec)
    if dataset is None:
        return 3 * len(atoms)
    scaled, count = atoms.get_scaled_positions(wrap=False), 0
    cell = np.array(atoms.cell)
    for atom in np.unique(dataset.equivalent_atoms):
        images = dataset.rotations @ scaled[atom] + dataset.translations
        apart = images - scaled[atom]
        keeps = np.linalg.norm((apart - np.rint(apart)) @ cell, axis=1) < 2 * symprec
        rotations = dataset.rotations[keeps]
        spanned = np.empty((0, 3))
        for vector in _GENERAL:
            spanned = np.vstack([spanned, rotations @ vector])
            count += 1
            if np.linalg.matrix_rank(spanned, _RANK_TOLERANCE) == 3:
                break
    return count


#: three vectors that no symmetry operation treats as special
_GENERAL = np.array([[0.8112, 0.3121, 0.4947], [-0.2713, 0.9034, 0.1327], [0.1471, -0.3391, 0.9291]])


def estimated_cost(
    atoms: Atoms,
    cutoff: float,
    supercell_matrix: np.ndarray | list | str | None = None,
    supercell_length: float | None = None,
    symprec: float = 1e-4,
) -> float:
    """Edges of the supercell times (directions + 1), and the fixed part.

    :param cutoff: of the potential, Å.
    :param supercell_matrix: three integers, shape ``(3, 3)``, or ``auto``.
    :param supercell_length: Å, where no matrix is given.
    :return: a positive number; it means something only beside those of other crystals.
    """
    if supercell_matrix is None or isinstance(supercell_matrix, str):
        supercell_matrix = supercell_for_length(atoms, supercell_length or LENGTH_OF_AUTO)
    matrix = np.asarray(supercell_matrix, dtype=float)
    n_cells = abs(np.linalg.det(np.diag(matrix) if matrix.ndim == 1 else matrix))
    n_neighbours = len(atoms) / atoms.get_volume() * 4 / 3 * math.pi * cutoff**3
    n_edges = len(atoms) * n_cells * n_neighbours
    return FIXED_COST + n_edges * (1 + independent_directions(atoms, symprec))
