"""The best that any pair potential can do: two springs for each shell of neighbours, fitted to the reference itself.

A pair function φ gives Φ_ij = -φ''(d) n nᵀ - φ'(d)/d (1 - n nᵀ) between two atoms at the distance d along n. With φ''
and φ' free in every shell nothing is left out; what remains is what three and more bodies do.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from phonopy import Phonopy

#: decimals in which distances (Å) of one shell agree
_DIGITS = 2


def pair_springs(phonon: Phonopy) -> np.ndarray:
    """Least-squares springs for the force constants of ``phonon``, with the acoustic sum rule.

    Pairs at the boundary of the supercell share their springs among all nearest images.

    :return: compact, shape ``(n_prim, n_super, 3, 3)``, eV/Å².
    """
    primitive = phonon.primitive
    given = phonon.force_constants
    if len(given) != len(primitive):
        given = given[primitive.p2s_map]
    vectors, multiplicity = primitive.get_smallest_vectors()
    vectors = vectors @ np.array(primitive.cell)
    numbers = phonon.supercell.numbers
    shells = defaultdict(list)
    for i, own in enumerate(primitive.p2s_map):
        for j in range(len(numbers)):
            if j == own:
                continue
            count, first = multiplicity[j, i]
            images = vectors[first : first + count]
            distance = float(np.linalg.norm(images[0]))
            along = np.mean([np.outer(v, v) for v in images], axis=0) / distance**2
            shells[(*sorted((numbers[own], numbers[j])), round(distance, _DIGITS))].append((i, j, along))
    fitted = np.zeros_like(given)
    for pairs in shells.values():
        projectors = np.array([[along, np.eye(3) - along] for _, _, along in pairs])
        design = projectors.transpose(0, 2, 3, 1).reshape(-1, 2)
        springs = np.linalg.lstsq(design, np.concatenate([given[i, j].ravel() for i, j, _ in pairs]), rcond=None)[0]
        for (i, j, _), both in zip(pairs, projectors, strict=True):
            fitted[i, j] = np.tensordot(springs, both, 1)
    for i, own in enumerate(primitive.p2s_map):
        fitted[i, own] = -fitted[i].sum(axis=0)
    return fitted
