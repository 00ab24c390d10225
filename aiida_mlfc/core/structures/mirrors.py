"""Displacements that are the mirrors of others: u and -u, as phonopy makes them for finite differences.

Forces hold even powers of u, from third order force constants on, which u and -u fitted together cancel. Of two halves
of a set that share its pairs between them, each has them in its force constants, with opposite signs.
"""

from __future__ import annotations

import numpy as np

#: displacements above this (Å) make a second-order fit too crude; third order is fitted along with it
HARMONIC_DISPLACEMENT = 0.035
#: of the largest component of a displacement; files round positions, and means of them stand for perfect crystals
TOLERANCE = 0.01


def are_biased(displacements: np.ndarray, others: np.ndarray) -> bool:
    """Whether force constants fitted to some configurations have third order in them that those fitted to all have not.

    :param displacements: shape ``(n_configs, n_super, 3)``, Å; ``others`` the rest of the set, likewise.
    """
    if not len(displacements) or np.linalg.norm(displacements, axis=2).max() > HARMONIC_DISPLACEMENT:
        return False
    return are_one_sided(displacements, others)


def are_one_sided(displacements: np.ndarray, others: np.ndarray) -> bool:
    """Whether any of some configurations has its mirror among others and not beside itself.

    One is enough: where each atom is displaced in few directions it spoils the force constants of its atom, and among
    random displacements there is none by chance.

    :param displacements: shape ``(n_configs, n_super, 3)``, Å; ``others`` of the same supercell, likewise.
    """
    return any(_has_mirror(u, others) and not _has_mirror(u, displacements) for u in displacements)


def _has_mirror(u: np.ndarray, among: np.ndarray) -> bool:
    """Whether -u is among configurations; nothing displaced is nobody's mirror."""
    largest = np.unravel_index(np.abs(u).argmax(), u.shape)
    tolerance = TOLERANCE * abs(u[largest])
    # nearly all are ruled out by one component
    near = among[np.abs(among[(slice(None), *largest)] + u[largest]) <= tolerance]
    return bool(tolerance and (np.abs(near + u) <= tolerance).all(axis=(1, 2)).any())
