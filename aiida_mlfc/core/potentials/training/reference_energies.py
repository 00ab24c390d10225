"""E0 of each element, so that a network need not learn what a free atom weighs.

Forces say nothing about the zero of energy, and a network that learned from them has one of its own, some tenths of an
eV an atom from that of the data. So E0 are fitted twice: before training to the energies, and after it to what the
network leaves of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols

from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.training.references import Reference


def starting_energies(
    references: Sequence[Reference], species: Sequence[int], given: str | Mapping[str, float]
) -> np.ndarray | None:
    """E0 before training.

    :param species: atomic numbers, in the order of the result.
    :param given: ``average``, see :func:`fitted_reference_energies`; ``zero``; or energies by symbol, eV.
    :return: shape ``(n_species,)``, eV; None for zero, or where no energy is known.
    :raises ValueError: if an element has none, or an element is none.
    """
    if isinstance(given, str):
        return fitted_reference_energies(references, species) if given == 'average' else None
    if strange := sorted(set(given) - set(atomic_numbers)):
        raise ValueError(f'E0s: {", ".join(strange)} is no element, wanted symbols')
    if missing := [chemical_symbols[z] for z in species if chemical_symbols[z] not in given]:
        raise ValueError(f'E0s: there is no energy of {", ".join(missing)}, wanted one for each element of the data')
    return np.array([float(given[chemical_symbols[z]]) for z in species])


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
        counts += [composition(reference, species)] * len(reference.energies)
        energies += list(at_rest(reference) / len(reference.supercell))
    if not counts:
        return None
    return np.asarray(np.linalg.lstsq(np.array(counts), np.array(energies), rcond=None)[0])


def corrections(model: EnergyModel, references: Sequence[Reference]) -> np.ndarray | None:
    """What E0 of a trained model lack for the energies of the perfect crystals to be those of the data.

    Least squares of Σ_Z n_Z c_Z = E - E_model, each crystal once; smallest where not unique. Forces do not change.

    :return: shape ``(n_species,)``, eV; None where no energy is known.
    """
    counts, lacking = [], []
    for reference in references:
        if reference.energies is None:
            continue
        graph = build_graph(reference.supercell, model.cutoff, model.species, model.dtype, model.device)
        with torch.no_grad():
            energy = float(model(graph)[0])
        counts.append(composition(reference, model.species))
        lacking.append((float(at_rest(reference).mean()) - energy) / len(reference.supercell))
    if not counts:
        return None
    return np.asarray(np.linalg.lstsq(np.array(counts), np.array(lacking), rcond=None)[0])


def correct(model: EnergyModel, references: Sequence[Reference]) -> None:
    """Add :func:`corrections` to the E0 of a model that has them."""
    E0 = getattr(model, 'reference_energies', None)
    found = None if E0 is None else corrections(model, references)
    if E0 is not None and found is not None:
        E0.add_(torch.as_tensor(found, dtype=E0.dtype, device=E0.device))


def composition(reference: Reference, species: Sequence[int]) -> np.ndarray:
    """Share of each element, shape ``(n_species,)``."""
    numbers = reference.supercell.numbers
    return np.array([np.count_nonzero(numbers == z) for z in species], dtype=float) / len(numbers)


def at_rest(reference: Reference) -> np.ndarray:
    """Energies of the perfect supercell, one from each configuration, shape ``(n_configs,)``, eV."""
    assert reference.energies is not None
    return np.asarray(reference.energies + 0.5 * np.sum(reference.forces * reference.displacements, axis=(1, 2)))
