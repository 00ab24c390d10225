"""One row of the results: a number of ours beside the same number of a named peer, from one run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """A comparison.

    :param quantity: what was measured, with its unit.
    :param ours: our number.
    :param peer: who, and how it was run.
    :param accuracy: how far both are from the exact answer.
    :param target: the ratio that is wanted, or None.
    """

    case: str
    quantity: str
    ours: float
    peer: str
    peer_value: float
    accuracy: str
    target: float | None = None

    @property
    def ratio(self) -> float:
        """Ours over the peer's; below 1 is better."""
        return self.ours / self.peer_value

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        return None if self.target is None else self.ratio <= self.target

    def to_dict(self) -> dict[str, Any]:
        """With the ratio, in the order in which it is read."""
        values = asdict(self)
        return {key: values.get(key, self.ratio) for key in RESULT_KEYS} | {'target': self.target}


RESULT_KEYS = ('case', 'quantity', 'ours', 'peer', 'peer_value', 'ratio', 'accuracy')


@dataclass(frozen=True)
class Curve:
    """A growth curve for the page, or points that do not belong on a line.

    :param figure: title of the figure that it belongs to; curves of one name in one figure are joined.
    :param labels: of each point; points with labels are not connected.
    """

    figure: str
    name: str
    x_title: str
    y_title: str
    x: list[float]
    y: list[float]
    labels: list[str] | None = None
    caption: str = ''


@dataclass
class Findings:
    """What one case found: rows, curves, and what was left out and why."""

    rows: list[Row] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            'rows': [row.to_dict() for row in self.rows],
            'curves': [asdict(curve) for curve in self.curves],
            'skipped': self.skipped,
        }

    @classmethod
    def of_rows(cls, rows: Iterable[dict[str, Any]]) -> Findings:
        """Rows of other modules, plain dictionaries."""
        keys = [key for key in RESULT_KEYS if key != 'ratio']
        return cls([Row(**{key: row[key] for key in keys}, target=row.get('target')) for row in rows])
