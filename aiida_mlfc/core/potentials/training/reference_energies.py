"""E0 of each element, so that a network need not learn what a free atom weighs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aiida_mlfc.core.potentials.training.references import Reference


def fitted_reference_energies(references: Sequence[Reference], species: Sequence[int]) -> np.ndarray | None:
    """Least squares of Σ_Z n_Z E0_Z = E over all configurations whose energy is known; smallest where not unique.

    E is that of the crystal at rest: the harmonic energy of its displacements, -F·u/2, is taken off.

    With fewer compositions than elements only sums are determined (in NaCl that of Na and Cl): the solution of
    smallest norm shares them out. Elements of which no energy is known have zero.

    :param species: atomic numbers, in the order of the result.
    :return: shape ``(n_species,)``, eV; None where no energy is known.
    """
    counts, energies = [], []
    for reference in references:
        if reference.energies is None:
            continue
        row = np.array([np.count_nonzero(reference.supercell.numbers == z) for z in species], dtype=float)
        counts += [row / len(reference.supercell)] * len(reference.energies)
        at_rest = reference.energies + 0.5 * np.sum(reference.forces * reference.displacements, axis=(1, 2))
        energies += list(at_rest / len(reference.supercell))
    if not counts:
        return None
    return np.asarray(np.linalg.lstsq(np.array(counts), np.array(energies), rcond=None)[0])
