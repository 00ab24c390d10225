"""The perfect supercell behind randomly displaced ones: their mean, put on the symmetry that it shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import spglib
from ase import Atoms
from phonopy.structure.cells import get_primitive, guess_primitive_matrix

from aiida_mlfc.core.structures.cells import to_ase, to_phonopy

#: Å; the mean of n random displacements is off by about u/√n: well above that, well below a bond
AVERAGING_SYMPREC = 0.1
#: Å; within this the symmetrised mean is exact
EXACT_SYMPREC = 1e-4


def perfect_supercell(configurations: Sequence[Atoms]) -> Atoms:
    """Mean positions over random displacements, put exactly on the sites of the symmetry they show.

    :param configurations: the same atoms in the same order and cell, all displaced.
    """
    first = configurations[0]
    scaled = np.array([c.get_scaled_positions(wrap=False) for c in configurations])
    scaled -= np.rint(scaled - scaled[0])
    mean = first.copy()
    mean.set_scaled_positions(scaled.mean(axis=0))
    cell = (np.array(mean.cell), mean.get_scaled_positions(), mean.numbers)
    dataset = spglib.get_symmetry_dataset(cell, AVERAGING_SYMPREC)
    symmetrised = np.zeros((len(mean), 3))
    for rotation, translation in zip(dataset.rotations, dataset.translations, strict=True):
        moved = mean.get_scaled_positions() @ rotation.T + translation
        difference = moved[:, None] - mean.get_scaled_positions()[None]
        difference -= np.rint(difference)
        partner = np.linalg.norm(difference @ np.array(mean.cell), axis=2).argmin(axis=1)
        symmetrised[partner] += difference[np.arange(len(mean)), partner]
    mean.set_scaled_positions(mean.get_scaled_positions() + symmetrised / len(dataset.rotations))
    # The origin is free: put the first atom exactly where its symmetry puts it, relative to itself.
    mean.set_scaled_positions(
        np.round(mean.get_scaled_positions() - mean.get_scaled_positions()[0], 8)
        + np.round(mean.get_scaled_positions()[0], 8)
    )
    return mean


def primitive_matrix_of(supercell: Atoms) -> np.ndarray:
    """Phonopy's primitive matrix of a supercell taken as the unit cell, shape ``(3, 3)``."""
    return np.asarray(guess_primitive_matrix(to_phonopy(supercell), symprec=EXACT_SYMPREC))


def primitive_of(supercell: Atoms) -> Atoms:
    """Primitive cell by spglib, its lattice a sublattice-generator of the supercell as it stands."""
    cell = get_primitive(to_phonopy(supercell), primitive_matrix_of(supercell), symprec=EXACT_SYMPREC)
    return to_ase(cell)
