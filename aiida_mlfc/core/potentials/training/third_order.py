"""How force constants change when the crystal is strained or distorted, from DFT forces of larger displacements.

Forces of displaced atoms are F = -Φ2 u - ½ Φ3 u u - ..., and symfc solves for both orders. To first order in a strain ε
of the lattice and shifts s of the atoms, Φ2 changes by

    δΦ2_ij = Σ_k Φ3_ijk (ε (r_k - r_i) + s_k - s_i).

So sets whose displacements are large enough tell how frequencies change with volume (Grüneisen parameters), though all
of them were computed at one volume. Whether a set tells it is measured: noise is put on its forces.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from phonopy.structure.atoms import PhonopyAtoms
from phonopy.structure.cells import get_smallest_vectors
from symfc import Symfc

#: of the largest displacement, Å: below, third order is lost in the noise of forces; above, fourth order is in it
SMALLEST, LARGEST = 0.02, 0.1
#: what DFT forces are taken to be off by at least, eV/Å; silicon and ZnTe leave 2e-5, MgO 6e-4 unexplained
FORCE_NOISE = 5e-5
#: share of the changes of force constants that noise may make up
MOST_NOISE = 0.1
#: force constants between atoms with several equally near images, beside the change with a strain of 1. How they change
#: cannot be told, for third order of opposite images cancels; bonds do so by 7 to 12 times the strain, so that this may
#: be a fifth of all change. NaCl and MgO of 64 atoms have 0.011 and 0.016, silicon 0.004
MOST_AMBIGUOUS = 0.02
#: share of the forces that both orders may leave: a singular problem has solutions that leave most
MOST_LEFT = 0.5
#: unknowns of third order; beyond, distances between its atoms are cut off at the largest of these that is enough, Å
MOST_UNKNOWN, CUTOFFS = 2000, (8.0, 6.0, 5.0, 4.5, 4.0)
#: third order of so many atoms takes 0.6 GB, of which there are seven copies while it is solved for
MOST_ATOMS = 140


@dataclass(frozen=True)
class ThirdOrder:
    """Third-order force constants of some atoms of a supercell with all others.

    :param constants: shape ``(n_rows, n_super, n_super, 3, 3, 3)``, eV/Å³.
    :param atoms: of the rows, numbers in the supercell, one of each kind under translations, shape ``(n_rows,)``.
    :param strained: ∂Φ2/∂ε of all atoms, shape ``(n_super, n_super, 3, 3, 3, 3)``, eV/Å²; the last two axes are those
        of the strain. Where atoms have several nearest images the mean counts, and so the order of i and j matters a
        little (3 % of springs in 64 atoms): it is symmetrised.
    """

    constants: np.ndarray
    atoms: np.ndarray
    strained: np.ndarray

    def change(self, strain: np.ndarray, shifts: np.ndarray) -> np.ndarray:
        """δΦ2 of the rows, shape ``(n_rows, n_super, 3, 3)``, eV/Å².

        :param strain: symmetric, shape ``(3, 3)``.
        :param shifts: of the atoms, beside the strain, shape ``(n_super, 3)``, Å.
        """
        by_shifts = [
            np.einsum('jkabc,kc->jab', row, shifts - shifts[i])
            for row, i in zip(self.constants, self.atoms, strict=True)
        ]
        return np.einsum('ijabcd,cd->ijab', self.strained[self.atoms], strain) + np.stack(by_shifts)


def third_order(
    supercell: PhonopyAtoms, displacements: np.ndarray, forces: np.ndarray, seed: int = 0
) -> ThirdOrder | None:
    """Third order of a force set, or None if the set does not determine it.

    :param displacements: shape ``(n_configs, n_super, 3)``, Å.
    :param forces: the same shape, eV/Å.
    :param seed: of the noise.
    """
    if not len(forces) or len(supercell) > MOST_ATOMS:
        return None
    if not SMALLEST <= np.linalg.norm(displacements, axis=2).max() <= LARGEST:
        return None
    with warnings.catch_warnings():
        # symfc warns of how it will be called in future
        warnings.simplefilter('ignore')
        try:
            return _determined(supercell, displacements, forces, np.random.default_rng(seed))
        except (AssertionError, np.linalg.LinAlgError):
            # symfc 1.7.3 finds no basis of third order for some small cells (rock salt in 8 atoms) and asserts
            return None


def _determined(
    supercell: PhonopyAtoms, displacements: np.ndarray, forces: np.ndarray, rng: np.random.Generator
) -> ThirdOrder | None:
    """Third order, if forces, noise and the size of the supercell let it be trusted."""
    fit = _prepared(supercell, displacements, forces)
    free = 0 if fit is None else forces.size - sum(some.basis_set.shape[1] for some in fit.basis_set.values())
    if fit is None or free <= 0:
        return None
    fit.solve(max_order=3, is_compact_fc=False)
    second, third = fit.force_constants[2], fit.force_constants[3]
    left = forces - _predicted(second, third, displacements)
    if not np.linalg.norm(left) < MOST_LEFT * np.linalg.norm(forces):
        return None
    atoms = np.array(fit.p2s_map)
    vectors, n_images = _vectors(supercell)
    found, pairs = _of(third, atoms, vectors), np.linalg.norm(second, axis=(2, 3))
    still, no_strain = np.zeros((len(supercell), 3)), np.zeros((3, 3))
    larger = np.linalg.norm(np.trace(found.strained, axis1=4, axis2=5))
    if not np.linalg.norm(pairs[n_images > 1]) < MOST_AMBIGUOUS * larger:
        return None
    del third
    noise = max(FORCE_NOISE, float(np.sqrt(np.sum(left**2) / free))) * rng.standard_normal(forces.shape)
    fit.forces = noise - noise.mean(axis=1, keepdims=True)
    fit.solve(max_order=3, is_compact_fc=False)
    wrong = _of(fit.force_constants[3], atoms, vectors)
    for strain, shifts in ((np.eye(3), still), *((no_strain, rng.standard_normal(still.shape)) for _ in range(2))):
        size, error = (np.linalg.norm(some.change(strain, shifts)) for some in (found, wrong))
        if not error < MOST_NOISE * size:
            return None
    return found


def _prepared(supercell: PhonopyAtoms, displacements: np.ndarray, forces: np.ndarray) -> Symfc | None:
    """With the largest cutoff that leaves few enough unknowns; None if there is none."""
    fits = {
        cutoff: Symfc(
            supercell, displacements=displacements, forces=forces, cutoff=None if cutoff is None else {3: cutoff}
        )
        for cutoff in (None, *CUTOFFS)
    }
    # without a cutoff the estimate costs nothing; where the smallest cutoff is not enough, none is
    if _is_small(fits[None]):
        return fits[None].compute_basis_set(max_order=3)
    if not _is_small(fits[CUTOFFS[-1]]):
        return None
    chosen = next(cutoff for cutoff in CUTOFFS if _is_small(fits[cutoff]))
    return fits[chosen].compute_basis_set(max_order=3)


def _is_small(fit: Symfc) -> bool:
    return bool(fit.estimate_basis_size(max_order=3)[3] <= MOST_UNKNOWN)


def _predicted(second: np.ndarray, third: np.ndarray, displacements: np.ndarray) -> np.ndarray:
    """Forces of both orders, eV/Å."""
    u = displacements.reshape(len(displacements), -1)
    n = u.shape[1]
    # two matrix products: a contraction of all at once is many times slower
    of_one = third.transpose(0, 3, 1, 4, 2, 5).reshape(n * n, n) @ u.T / 2
    both = u @ second.transpose(0, 2, 1, 3).reshape(n, n) + np.einsum('pqm,mq->mp', of_one.reshape(n, n, -1), u)
    return np.asarray(-both.reshape(displacements.shape))


def _of(third: np.ndarray, atoms: np.ndarray, vectors: np.ndarray) -> ThirdOrder:
    """Its rows, and what strain does to all atoms.

    :param third: of all atoms, shape ``(n_super, n_super, n_super, 3, 3, 3)``.
    """
    strained = np.stack([np.einsum('jkabc,kd->jabcd', row, some) for row, some in zip(third, vectors, strict=True)])
    return ThirdOrder(third[atoms], atoms, (strained + strained.transpose(1, 0, 3, 2, 4, 5)) / 2)


def _vectors(supercell: PhonopyAtoms) -> tuple[np.ndarray, np.ndarray]:
    """From each atom to the nearest image of each, the mean of those that are equally near, Å; and how many these are.

    :return: shapes ``(n_super, n_super, 3)`` and ``(n_super, n_super)``.
    """
    places, means, numbers = supercell.scaled_positions, [], []
    for i in range(len(supercell)):
        vectors, where = get_smallest_vectors(supercell.cell, places, places[[i]], store_dense_svecs=True)
        means.append([vectors[start : start + n].mean(axis=0) for n, start in where[:, 0]])
        numbers.append(where[:, 0, 0])
    return np.array(means) @ supercell.cell, np.array(numbers)
