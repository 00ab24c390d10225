"""Latent charges where Born charges are known: the long-range part is then given, and only the rest is learned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aiida_mlfc.core.potentials.training.references import Reference


def known_charges(references: Sequence[Reference], species: Sequence[int]) -> np.ndarray | None:
    """tr Z*/3 / √(tr ε∞/3), mean over the atoms of each element and over the references that have Born charges.

    At distances where dipoles are all there is, charges of this size in vacuum interact as Born charges do in their
    dielectric, but for anisotropy.

    :param species: atomic numbers, in the order of the result.
    :return: shape ``(n_species,)``, elementary charges; None unless every element of a compound is in one with Born
        charges. Elements that occur on their own only have zero.
    """
    found: dict[int, list[float]] = {z: [] for z in species}
    in_compounds: set[int] = set()
    for reference in references:
        numbers = reference.primitive.numbers
        if len(set(numbers)) > 1:
            in_compounds |= {int(z) for z in numbers}
        if reference.born is None:
            continue
        screening = np.sqrt(np.trace(np.asarray(reference.born['dielectric'])) / 3)
        charges = np.trace(np.asarray(reference.born['born']), axis1=1, axis2=2) / 3 / screening
        for z in set(numbers) & set(found):
            found[int(z)].append(float(charges[numbers == z].mean()))
    if not in_compounds or any(not found[z] for z in in_compounds):
        return None
    return np.array([np.mean(found[z]) if found[z] and z in in_compounds else 0.0 for z in species])
