"""What a potential's card has to say about one material, wherever its numbers are shown."""

from __future__ import annotations

from typing import Any


def card_warnings(card: dict[str, Any], formula: str, spacegroup: str) -> list[str]:
    """Known problems with the material, and that it was not among the training crystals.

    A card without a list of training crystals (a foundation model's) has nothing to say.

    :param card: ``known problems`` by formula, ``training data`` with ``formula`` and ``sg``.
    :param formula: reduced, in pymatgen's order.
    :param spacegroup: symbol and number, ``Fm-3m (225)``.
    """
    from pymatgen.core import Composition

    name, said = card.get('name', 'the potential'), []
    learned = {
        (Composition(entry['formula']).reduced_formula, entry['sg'])
        for entry in card.get('training data', [])
        if entry.get('formula') and entry.get('sg')
    }
    if learned and (formula, spacegroup) not in learned:
        said.append(f'{name} was not trained on {formula} in {spacegroup}: extrapolation')
    elif problem := card.get('known problems', {}).get(formula):
        said.append(f'{name} on {formula}: {problem}')
    return said
