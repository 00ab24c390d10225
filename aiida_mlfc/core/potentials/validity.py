"""What a potential was trained on bounds what it may be asked: elements, neighbour pairs, displacements, lattice."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from vesin import NeighborList


class OutsideTrainingError(ValueError):
    """The question lies outside what the potential was trained on."""


#: metadata keys of the model card, in the section ``validity``
MAX_DISPLACEMENT = 'max_displacement'
SHORTEST_DISTANCES = 'shortest_distances'
HAS_STRESS = 'has_stress'
#: symbols of each crystal learned, where terms of a model exist for these alone
ELEMENTS_TOGETHER = 'elements_together'
#: nearest neighbours may be this much nearer or farther than in training, as a fraction
DISTANCE_MARGIN = 0.1
#: a relaxation may begin so many times the largest displacement of training away from where it ends: forces on the way
#: need only point there, those at the end are what counts
RELAXATION_MARGIN = 2.0


def pair_name(z1: int, z2: int) -> str:
    """``Mg-O``: symbols in order of atomic number."""
    return '-'.join(chemical_symbols[z] for z in sorted((int(z1), int(z2))))


def shortest_distances(atoms: Atoms, radius: float) -> dict[str, float]:
    """Shortest distance of each pair of elements within ``radius``, Å."""
    search = NeighborList(cutoff=radius, full_list=True)
    i, j, d = search.compute(points=atoms.positions, box=np.array(atoms.cell), periodic=True, quantities='ijd')
    found: dict[str, float] = {}
    for z1, z2, distance in zip(atoms.numbers[i], atoms.numbers[j], d, strict=True):
        name = pair_name(z1, z2)
        found[name] = min(found.get(name, np.inf), float(distance))
    return found


def check_environment(atoms: Atoms, metadata: dict[str, Any], radius: float) -> None:
    """Refuse elements that occur together in no crystal learned, pairs that were never neighbours in training, and
    distances far from any seen.

    A potential whose card has no section ``validity`` is not checked: foundation models cover everything.

    :param radius: the potential's cutoff, Å.
    :raises OutsideTrainingError: naming the elements or the pair.
    """
    together = metadata.get('validity', {}).get(ELEMENTS_TOGETHER)
    elements = sorted(set(atoms.symbols))
    if together is not None and elements not in together:
        raise OutsideTrainingError(
            f'{"-".join(elements)}: the potential was trained on no crystal of just these elements, and what it says '
            f'of others has no meaning (it was trained on {", ".join("-".join(known) for known in together)})'
        )
    seen = metadata.get('validity', {}).get(SHORTEST_DISTANCES)
    if seen is None:
        return
    for name, distance in shortest_distances(atoms, radius).items():
        if name not in seen:
            raise OutsideTrainingError(
                f'{name} neighbours within {radius} Å: the potential never saw that pair in training '
                f'(it saw {", ".join(sorted(seen))})'
            )
        low, high = seen[name]
        if not low * (1 - DISTANCE_MARGIN) <= distance <= high * (1 + DISTANCE_MARGIN):
            raise OutsideTrainingError(
                f'shortest {name} distance {distance:.3f} Å, trained on {low:.3f} to {high:.3f} Å'
            )


def check_displacement(displacement: float, metadata: dict[str, Any], what: str, times: float = 1.0) -> None:
    """Refuse displacements larger than any in training.

    :param displacement: Å.
    :param what: what moved, for the message.
    :param times: as often as large is allowed.
    :raises OutsideTrainingError: if the card has a limit and it is passed.
    """
    limit = metadata.get('validity', {}).get(MAX_DISPLACEMENT)
    if limit is not None and displacement > times * limit:
        allowed = f'; {times * limit:.3f} Å are allowed here' if times != 1 else ''
        raise OutsideTrainingError(
            f'{what}: {displacement:.3f} Å, the potential was trained on displacements up to {limit:.3f} Å{allowed}'
        )


def check_stress_labels(metadata: dict[str, Any], purpose: str = 'relaxing the cell') -> None:
    """Refuse to strain the cell with a potential that never learned stress: its lattice has no meaning.

    :param purpose: what the cell is strained for, in the words of the error.
    :raises OutsideTrainingError: if the card says so, or says nothing.
    """
    if not metadata.get('validity', {}).get(HAS_STRESS, False):
        raise OutsideTrainingError(
            f'{purpose} needs a potential trained on stress; the card of this one does not say that it was. '
            'Keep the cell as it is, or use another potential'
        )
