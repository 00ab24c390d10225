"""Are the forces of a set those of the atoms they stand at? Its own symmetry says so.

Symmetric harmonic force constants predict every force several times over: by the space group, by permutation, by other
configurations. What they cannot explain is noise and anharmonicity, a few per cent. Swap the forces F_i and F_j of two
atoms, and what is left, r = F - P, points along their difference: with w the weight of these two forces in their own
prediction, (r_i - r_j)·(F_i - F_j) = 2 (1 - w) |F_i - F_j|², where noise gives next to nothing. Forces that differ by
less than some 5 % of the largest one can be exchanged without being told from anharmonicity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aiida_mlfc.core.references.fitting import Fit
from aiida_mlfc.core.references.force_sets import ReferenceError

#: the 47 sound force sets this was measured on stay below 0.07; exchanged large forces give 0.1 to 0.9
LARGEST_RESIDUAL = 0.12
#: share of |F_i - F_j|² from which on a pair can be swapped: 2 (1 - w) with w at most 0.78
SMALLEST_SHARE = 0.45
#: in units of the noise of the set; sound sets stay below 5
LARGEST_EVIDENCE = 8.0
#: what anharmonicity leaves on any atom, as a share of the largest force of the configuration: beside a displaced atom
#: forces that are zero by harmonic symmetry reach 0.015 of it in sound sets, and look exactly like exchanged ones
ANHARMONIC = 0.006
#: noise estimates are held below this share of the forces, so that swapped ones cannot hide in noise of their own
LARGEST_NOISE = 0.1
#: forces from this share of the largest on tell how far relative errors go
STRONG = 0.1


@dataclass(frozen=True)
class Swap:
    """The pair that looks most as if its forces were exchanged.

    :param configuration: its number, from 0.
    :param atoms: their numbers in the supercell, from 0.
    :param evidence: what speaks for a swap, in units of noise; 0 if nothing does.
    """

    configuration: int
    atoms: tuple[int, int]
    evidence: float


def most_suspicious_pair(fit: Fit) -> Swap:
    """The pair of atoms with the strongest evidence of exchanged forces."""
    forces, left = fit.forces, fit.forces - fit.predicted
    sizes, errors = np.linalg.norm(forces, axis=2), np.linalg.norm(left, axis=2)
    strong = sizes > STRONG * sizes.max()
    relative = min(float(np.median(errors[strong] / sizes[strong])), LARGEST_NOISE)
    absolute = min(float(np.median(errors)), LARGEST_NOISE * float(np.sqrt(np.mean(sizes**2))))
    best = Swap(0, (0, 0), 0.0)
    for k in range(len(forces)):
        along = forces[k][:, None] - forces[k][None]
        squared = (along**2).sum(axis=2)
        np.fill_diagonal(squared, 1.0)
        squared = np.where(squared > 0, squared, 1.0)
        projection = ((left[k][:, None] - left[k][None]) * along).sum(axis=2)
        both = sizes[k][:, None] ** 2 + sizes[k][None] ** 2
        noise = np.sqrt(2 * absolute**2 + relative**2 * both + (ANHARMONIC * sizes[k].max()) ** 2)
        evidence = projection / np.sqrt(squared) / np.maximum(noise, np.finfo(float).tiny)
        evidence = np.where(projection > SMALLEST_SHARE * squared, evidence, 0.0)
        i, j = np.unravel_index(int(np.argmax(evidence)), evidence.shape)
        if evidence[i, j] > best.evidence:
            best = Swap(k, (int(i), int(j)), float(evidence[i, j]))
    return best


def check_forces(fit: Fit) -> float:
    """Refuse forces that break the symmetry of their crystal by more than noise.

    :return: the evidence of the most suspicious pair, see :class:`Swap`.
    :raises ReferenceError: naming the configuration and the atoms.
    """
    found = most_suspicious_pair(fit)
    where = f'atoms {found.atoms[0] + 1} and {found.atoms[1] + 1} of configuration {found.configuration + 1}'
    if found.evidence > LARGEST_EVIDENCE:
        raise ReferenceError(
            f'the forces of {where} break the symmetry of the crystal by {found.evidence:.0f} times the noise, as if '
            f'they were exchanged (sound sets stay below {LARGEST_EVIDENCE:.0f}): are atoms in another order?'
        )
    if fit.relative_residual > LARGEST_RESIDUAL:
        raise ReferenceError(
            f'{100 * fit.relative_residual:.0f} % of the forces do not come from symmetric harmonic force constants, '
            f'wanted less than {100 * LARGEST_RESIDUAL:.0f} %: atoms in another order, another cell, or too large steps'
        )
    return found.evidence


def check_on_site(full_rows: np.ndarray, p2s_map: np.ndarray, s2pp: np.ndarray) -> None:
    """Refuse force constants in which another atom pulls harder than an atom's own site.

    The forces of a displaced atom and of a neighbour exchanged can obey every symmetry. But where the energy has a
    minimum, |Φ_ij| is at most the geometric mean of |Φ_ii| and |Φ_jj|; soft modes do not change that by much.

    :param full_rows: compact force constants, shape ``(n_prim, n_super, 3, 3)``, eV/Å².
    :param p2s_map: supercell index of each primitive atom.
    :param s2pp: primitive index of each supercell atom.
    :raises ReferenceError: naming the atoms.
    """
    own = full_rows[np.arange(len(p2s_map)), p2s_map]
    if (lowest := np.linalg.eigvalsh(own).min(axis=1)).min() <= 0:
        atom = int(lowest.argmin())
        raise ReferenceError(
            f'atom {int(p2s_map[atom]) + 1} is pushed away from its site when it moves, {lowest[atom]:.3g} eV/Å²: are '
            'the forces of the displaced atom those of another, or their sign another?'
        )
    sizes = np.linalg.norm(full_rows, ord=2, axis=(2, 3))
    on_site = np.linalg.norm(own, ord=2, axis=(1, 2))
    ratio = sizes / np.sqrt(on_site[:, None] * on_site[s2pp][None])
    ratio[np.arange(len(p2s_map)), p2s_map] = 0
    i, j = np.unravel_index(int(ratio.argmax()), ratio.shape)
    if ratio[i, j] > 1:
        raise ReferenceError(
            f'atoms {int(p2s_map[i]) + 1} and {int(j) + 1} are bound {ratio[i, j]:.2g} times as hard to each other as '
            'to their sites: are their forces exchanged?'
        )
