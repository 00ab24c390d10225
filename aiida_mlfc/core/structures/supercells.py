"""Which supercell: the smallest diagonal one in which every atom's images are far enough apart."""

from __future__ import annotations

import numpy as np
from ase import Atoms


def supercell_for_length(structure: Atoms, min_length: float, max_atoms: int | None = None) -> np.ndarray:
    """Diagonal supercell whose parallel faces are all at least ``min_length`` apart.

    The distance between faces, not the length of a vector, is what bounds the distance of an atom to its images in a
    thin rhombohedral or monoclinic cell.

    :param min_length: Å.
    :param max_atoms: refuse to build more than this many atoms.
    :return: integers, shape ``(3, 3)``.
    :raises ValueError: if the supercell would hold more than ``max_atoms`` atoms.
    """
    heights = 1 / np.linalg.norm(np.linalg.inv(np.array(structure.cell)).T, axis=1)
    repeats = np.maximum(1, np.ceil(min_length / heights - 1e-6)).astype(int)
    n_atoms = len(structure) * int(repeats.prod())
    if max_atoms is not None and n_atoms > max_atoms:
        raise ValueError(
            f'a supercell of {min_length} Å would be {"x".join(map(str, repeats))} with {n_atoms} atoms, '
            f'wanted at most {max_atoms}: raise max_atoms, lower min_length, or give the supercell_matrix'
        )
    return np.diag(repeats)
