"""What a potential's card has to say about one material, wherever its numbers are shown."""

from __future__ import annotations

from functools import cached_property
from typing import Any


class Card:
    """A card, with the list of its training crystals read once.

    :param card: ``known problems`` by formula, ``training data`` with ``formula`` and ``sg``.
    """

    def __init__(self, card: dict[str, Any]) -> None:
        self.card = card

    @cached_property
    def _learned(self) -> set[tuple[str, str]]:
        entries = [e for e in self.card.get('training data', []) if e.get('formula') and e.get('sg')]
        if not entries:
            return set()
        # pymatgen takes a second to import: not where there is nothing to read
        from pymatgen.core import Composition

        return {(Composition(entry['formula']).reduced_formula, entry['sg']) for entry in entries}

    def warnings(self, formula: str, spacegroup: str | None) -> list[str]:
        """Known problems with the material, and that it was not among the training crystals.

        A card without a list of training crystals (a foundation model's) has nothing to say.

        :param formula: reduced, in pymatgen's order.
        :param spacegroup: symbol and number, ``Fm-3m (225)``.
        """
        name, said = self.card.get('name', 'the potential'), []
        if self._learned and (formula, spacegroup) not in self._learned:
            said.append(f'{name} was not trained on {formula} in {spacegroup}: extrapolation')
        elif problem := self.card.get('known problems', {}).get(formula):
            said.append(f'{name} on {formula}: {problem}')
        return said


def card_warnings(card: dict[str, Any], formula: str, spacegroup: str) -> list[str]:
    """:meth:`Card.warnings` of one material."""
    return Card(card).warnings(formula, spacegroup)
