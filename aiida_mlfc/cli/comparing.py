"""Pairs of references, or references and potentials, to rows; what cannot be compared is a row that says why."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from aiida_mlfc.cli.potential_jobs import PotentialFile, force_constants_of
from aiida_mlfc.core.comparison.aggregate import Aggregate, aggregate
from aiida_mlfc.core.comparison.alignment import Canonical, canonical
from aiida_mlfc.core.comparison.compare import Compared, compare
from aiida_mlfc.core.comparison.matching import ComparisonError
from aiida_mlfc.core.comparison.nac import NacPolicy
from aiida_mlfc.core.comparison.record import Comparison, refused_row
from aiida_mlfc.core.force_constants.record import ForceConstants
from aiida_mlfc.core.references.reading import read_references
from aiida_mlfc.core.references.record import Reference, Refusal
from aiida_mlfc.core.references.settings import Settings

#: references that are held in memory together, and that share jobs
PORTION = 60

Parcel = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """One pair.

    :param row: keys of ``ROW_KEYS``, and ``a`` and ``b``, what was compared.
    :param summary: None where the pair was refused.
    :param parcel: what the page shows of it, where a page is wanted.
    :param seconds: spent on the force constants of b, where they were computed.
    """

    row: dict[str, Any]
    summary: Comparison | None = None
    parcel: Parcel | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Where:
    """How potentials are evaluated.

    :param own_geometry: relax cell and positions with the potential first.
    """

    device: str = 'cpu'
    own_geometry: bool = False


@dataclass(frozen=True)
class Task:
    """How pairs are compared.

    :param say: is told what has been read.
    :param nac: None takes the reference's Born charges for a potential too, and wants both or none of two references.
    :param parcel: makes what the page shows of a comparison; None where no page is wanted.
    """

    settings: Settings
    say: Callable[[str], None]
    nac: NacPolicy | None = None
    parcel: Callable[[Compared, Reference], Parcel] | None = None

    def of_references(self, first: Path, second: Path, labels: tuple[str, str]) -> Iterator[Outcome]:
        """References of one file, folder or archive against those of another, see ``_pairs``."""
        found = [list(self._read(path)) for path in (first, second)]
        for side, label in zip(found, labels, strict=True):
            if not side:
                yield Outcome(_refused(label, labels, f'there is no reference in {label}'))
        for side in found:
            yield from (Outcome(_refused(item.name, labels, item.error)) for item in side if isinstance(item, Refusal))
        good = [[item for item in side if isinstance(item, Reference)] for side in found]
        for a, b, name in _pairs(*good):
            if isinstance(a, Reference) and isinstance(b, Reference):
                yield self._outcome(a, b.force_constants, name, labels, self.nac or 'both')
            else:
                missing = labels[0] if a is None else labels[1]
                yield Outcome(_refused(name, labels, f'there is none of this name in {missing}'))

    def with_potentials(
        self, path: Path, potentials: Sequence[PotentialFile], label: str, folder: Path, where: Where
    ) -> Iterator[Outcome]:
        """Every reference against each potential, in the reference's supercell; references are read once."""
        items = self._read(path)
        n_found = 0
        while portion := list(islice(items, PORTION)):
            # Names repeat where two folders below have one name: the position tells them apart.
            good = {f'{n_found + k:06d} {r.name}': r for k, r in enumerate(portion) if isinstance(r, Reference)}
            footing: dict[str, Canonical] = {}
            for potential in potentials:
                labels = (label, potential.label)
                yield from (
                    Outcome(_refused(item.name, labels, item.error)) for item in portion if isinstance(item, Refusal)
                )
                for key, result in force_constants_of(
                    potential,
                    {key: r.force_constants for key, r in good.items()},
                    folder / f'portion-{n_found}',
                    where.device,
                    where.own_geometry,
                ):
                    reference = good[key]
                    if isinstance(result, str):
                        yield Outcome(_refused(reference.name, labels, result))
                        continue
                    if key not in footing:
                        footing[key] = canonical(reference.force_constants)
                    outcome = self._outcome(
                        reference, result, reference.name, labels, self.nac or 'shared', footing[key]
                    )
                    row = {**outcome.row, 'geometry': 'own' if where.own_geometry else 'reference'}
                    yield replace(outcome, row=row, seconds=result.quality.seconds)
            n_found += len(portion)
        if not n_found:
            yield Outcome(_refused(label, (label, label), f'there is no reference in {label}'))

    def _read(self, path: Path) -> Iterator[Reference | Refusal]:
        """References, told as they come: large sets take minutes."""
        for number, item in enumerate(read_references([path], self.settings), start=1):
            self.say(f'read [{number}] {item.name}' + ('' if isinstance(item, Reference) else f': {item.error}'))
            yield item

    def _outcome(
        self,
        a: Reference,
        b: ForceConstants,
        name: str,
        labels: tuple[str, str],
        nac: NacPolicy,
        footing: Canonical | None = None,
    ) -> Outcome:
        try:
            found = compare(footing or a.force_constants, b, name, nac)
        except ComparisonError as error:
            return Outcome(_refused(name, labels, str(error)))
        except MemoryError:
            return Outcome(_refused(name, labels, 'is too large for the memory of this machine'))
        except Exception as error:  # noqa: BLE001 (one pair must not take the others with it)
            return Outcome(_refused(name, labels, f'{type(error).__name__}: {" ".join(str(error).split())[:200]}'))
        row = {**found.summary.row(), 'a': labels[0], 'b': labels[1]}
        return Outcome(row, found.summary, None if self.parcel is None else self.parcel(found, a))


def _refused(name: str, labels: tuple[str, str], error: str) -> dict[str, Any]:
    return {**refused_row(name, error), 'a': labels[0], 'b': labels[1]}


def _pairs(
    first: Sequence[Reference], second: Sequence[Reference]
) -> Iterator[tuple[Reference | None, Reference | None, str]]:
    """By name; where no name is on both sides and one side holds a single reference, that against each of the other."""
    by_name = {reference.name: reference for reference in second}
    if 1 in (len(first), len(second)) and not any(a.name in by_name for a in first):
        for a in first:
            for b in second:
                yield a, b, a.name if len(second) == 1 else b.name
        return
    for a in first:
        yield a, by_name.pop(a.name, None), a.name
    for b in by_name.values():
        yield None, b, b.name


def scoreboard(outcomes: Sequence[Outcome]) -> list[Aggregate]:
    """One line for each potential over the references it was compared with.

    Where potentials know different references, their means are of different crystals: further lines, called
    ``NAME, common``, are over those that all of them know.
    """
    labels = list(dict.fromkeys(outcome.row['b'] for outcome in outcomes))
    good: dict[str, list[Outcome]] = {label: [] for label in labels}
    refused = dict.fromkeys(labels, 0)
    for outcome in outcomes:
        if outcome.summary is None:
            refused[outcome.row['b']] += 1
        else:
            good[outcome.row['b']].append(outcome)
    scores = [_score(label, good[label], refused[label]) for label in labels if good[label]]
    names = [{outcome.row['name'] for outcome in good[label]} for label in labels]
    common = set.intersection(*names) if names else set()
    if common and any(known != common for known in names):
        for label in labels:
            scores.append(_score(f'{label}, common', [o for o in good[label] if o.row['name'] in common], 0))
    return scores


def _score(name: str, outcomes: Sequence[Outcome], n_refused: int) -> Aggregate:
    seconds = [outcome.seconds for outcome in outcomes if outcome.seconds is not None]
    summaries = [outcome.summary for outcome in outcomes if outcome.summary is not None]
    return aggregate(name, summaries, n_refused, sum(seconds) if seconds else None)


class Watch:
    """Progress on stderr: how many references are done, and for how long."""

    def __init__(self) -> None:
        self.started, self.n = time.perf_counter(), 0

    def __call__(self, outcome: Outcome) -> None:
        """One more."""
        import click

        self.n += 1
        row = outcome.row
        if row['status'] == 'ok':
            what = f'MAE {row["frequency_mae"]:.3f} THz, highest {row["max_frequency_error"]:+.1f} K'
        else:
            what = f'refused: {row["error"]}'
        spent = time.perf_counter() - self.started
        click.echo(f'[{self.n}] {spent:6.0f} s  {row["name"]}: {row["a"]} against {row["b"]}: {what}', err=True)
