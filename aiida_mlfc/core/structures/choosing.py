"""Which crystals a reference is computed for next: those that the potential is not sure of, and the unstable ones."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

#: what the card of a potential says it was calibrated on where nothing was held back
LEARNED = 'what was learned, a lower bound'
#: how many times such uncertainties count until the loop has found out: hexagonal silicon, after one displacement of
#: cubic silicon, was off by 1.4 to 4.3 times what was stated, with expansions of different priors
LOWER_BOUND = 4.0


@dataclass(frozen=True)
class ActiveLearning:
    """When to ask for a reference, and when to stop.

    :param uncertainty: a crystal whose frequencies spread by more is asked about, THz.
    :param unstable_below: a crystal with a mode below this is asked about, THz.
    :param per_round: references in one round, at most.
    :param max_references: references in all rounds, at most: the budget.
    :param max_rounds: rounds of reference, training and screen, at most.
    """

    uncertainty: float = 0.2
    unstable_below: float = -0.05
    per_round: int = 4
    max_references: int = 16
    max_rounds: int = 4

    def __post_init__(self) -> None:
        for name in ('per_round', 'max_references', 'max_rounds'):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ValueError(f'{name}: got {getattr(self, name)!r}, wanted a whole number above 0')
        if self.uncertainty <= 0:
            raise ValueError(f'uncertainty: got {self.uncertainty} THz, wanted a positive one')


def _is_known(row: Mapping[str, Any]) -> bool:
    """Whether the lowest frequency is a number: JSON files hold None for NaN."""
    return row['status'] == 'ok' and row['min_frequency'] is not None and math.isfinite(row['min_frequency'])


def why(row: Mapping[str, Any], rule: ActiveLearning) -> str | None:
    """Why a crystal should be asked about; None if the potential may be believed.

    :param row: of the screen's table.
    """
    if row['status'] != 'ok':
        return f'no phonons: {row["error"]}'
    if not _is_known(row):
        return f'no phonons: the lowest frequency is {row["min_frequency"]}'
    spread = row.get('uncertainty')
    if spread is not None and spread > rule.uncertainty:
        return f'uncertain by {spread:.2f} THz'
    if row['min_frequency'] < rule.unstable_below:
        return f'lowest mode at {row["min_frequency"]:.2f} THz'
    return None


def overconfidence(found: Iterable[tuple[float, float]], unproven: float = 1.0) -> float:
    """By how much uncertainties are to be multiplied, judged by crystals that were asked about; 1 if by nothing.

    Each is one sample of an error whose scale was stated; a potential that learns from all that there is states a
    lower bound. Errors below the stated scale make it no smaller: those crystals were not chosen at random.

    :param found: stated uncertainty and root mean square error, THz, of potentials about crystals new to them.
    :param unproven: the answer while there is no such crystal.
    """
    ratios = [(error / stated) ** 2 for stated, error in found if stated > 0 and math.isfinite(error)]
    return max(1.0, math.sqrt(sum(ratios) / len(ratios))) if ratios else unproven


def scaled(rows: Mapping[str, Mapping[str, Any]], factor: float) -> dict[str, dict[str, Any]]:
    """Rows of the screen's table with their uncertainties, where they have any, multiplied."""
    found = {key: dict(row) for key, row in rows.items()}
    for row in found.values():
        if row.get('uncertainty') is not None:
            row['uncertainty'] *= factor
    return found


def choose(
    rows: Mapping[str, Mapping[str, Any]], referenced: Collection[str], rule: ActiveLearning
) -> list[tuple[str, str]]:
    """Keys and reasons, what is least known first: nothing computed, then by uncertainty, then by the lowest mode.

    :param rows: of the screen's table, by key.
    :param referenced: keys of which a reference was computed or tried.
    :return: at most ``per_round``, and as many as the budget has left.
    """
    asked = [(key, reason) for key, row in rows.items() if key not in referenced and (reason := why(row, rule))]

    def order(item: tuple[str, str]) -> tuple[int, float]:
        row = rows[item[0]]
        if not _is_known(row):
            return 0, 0.0
        spread = row.get('uncertainty') or 0.0
        return (1, -spread) if spread > rule.uncertainty else (2, row['min_frequency'])

    left = rule.max_references - len(referenced)
    return sorted(asked, key=order)[: max(0, min(rule.per_round, left))]
