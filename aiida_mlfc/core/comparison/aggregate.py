"""Many comparisons to one line of a benchmark: mean absolute errors with bootstrap intervals, stability confusion.

A frequency enters once: each star of wave vectors by its weight (``sampling``), a reference that was given twice once,
and several references of one material (formula and space group) share the weight of one material.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from aiida_mlfc.core.comparison.compare import THRESHOLDS
from aiida_mlfc.core.comparison.record import Comparison

#: resamples; the ends of an interval move by a few per cent of its width with more
RESAMPLES = 2000
#: share of the resamples inside an interval
CONFIDENCE = 0.95
#: relative; two references whose numbers agree to this are one reference given twice
SAME_REFERENCE = 1e-6


@dataclass(frozen=True)
class Estimate:
    """A mean over materials.

    :param mean: of the materials' means.
    :param low: lower end of the 95 % bootstrap interval over materials; None for a single material.
    :param high: upper end.
    :param n_materials: that have this number.
    """

    mean: float
    low: float | None
    high: float | None
    n_materials: int


@dataclass(frozen=True)
class Confusion:
    """Stability of the reference (a) against that of the other (b), counted over materials' shares.

    :param stable_kept: share of the stable ones that are found stable; None if there are none.
    :param unstable_kept: share of the unstable ones that are found unstable; None if there are none.
    :param counts: references by ``stable_stable``, ``stable_unstable``, ... (a first).
    """

    stable_kept: float | None
    unstable_kept: float | None
    counts: dict[str, int]


@dataclass(frozen=True)
class Aggregate:
    """One potential over a set of references.

    :param n_references: that were compared, duplicates left out.
    :param n_duplicates: references left out because they are the same as another.
    :param n_materials: different formulas and space groups among them.
    :param n_failed: references that could not be compared with this potential.
    :param errors: mean absolute errors by name, units in the names of :data:`METRICS`.
    :param confusion: by the name of a threshold.
    :param seconds: spent on force constants; None if not known.
    """

    name: str
    n_references: int
    n_duplicates: int
    n_materials: int
    n_failed: int
    errors: dict[str, Estimate]
    confusion: dict[str, Confusion]
    seconds: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


#: what is averaged, and how it is found; the first four as in Table 2 of Loew et al., npj Comput. Mater. 11, 178 (2025)
METRICS: dict[str, Callable[[Comparison], float | None]] = {
    'max_frequency_K': lambda c: abs(c.max_frequency_error_kelvin),
    'entropy_J_per_K_mol': lambda c: abs(c.entropy_error),
    'free_energy_kJ_per_mol': lambda c: abs(c.free_energy_error),
    'heat_capacity_J_per_K_mol': lambda c: abs(c.heat_capacity_error),
    'frequency_mae_THz': lambda c: c.mesh.mae,
    'frequency_max_THz': lambda c: c.mesh.max,
    'relative_frobenius': lambda c: None if c.force_constants is None else c.force_constants.relative_frobenius,
}


def aggregate(
    name: str, comparisons: Sequence[Comparison], n_failed: int = 0, seconds: float | None = None, seed: int = 0
) -> Aggregate:
    """Means over materials with bootstrap intervals.

    :param name: of the potential.
    :param n_failed: references without a comparison.
    :param seconds: spent on all force constants of the potential.
    """
    unique = _without_duplicates(comparisons)
    materials: dict[tuple[str, str], list[Comparison]] = {}
    for comparison in unique:
        materials.setdefault((comparison.formula, comparison.spacegroup), []).append(comparison)
    rng = np.random.default_rng(seed)
    errors = {}
    for metric, of in METRICS.items():
        values = [[x for x in map(of, group) if x is not None] for group in materials.values()]
        means = np.array([np.mean(group) for group in values if group])
        if len(means):
            errors[metric] = _estimate(means, rng)
    return Aggregate(
        name=name,
        n_references=len(unique),
        n_duplicates=len(comparisons) - len(unique),
        n_materials=len(materials),
        n_failed=n_failed,
        errors=errors,
        confusion={threshold: _confusion(list(materials.values()), threshold) for threshold in THRESHOLDS},
        seconds=seconds,
    )


def _estimate(means: np.ndarray, rng: np.random.Generator) -> Estimate:
    if len(means) == 1:
        return Estimate(float(means[0]), None, None, 1)
    resampled = rng.choice(means, (RESAMPLES, len(means))).mean(axis=1)
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(float(means.mean()), float(low), float(high), len(means))


def _fingerprint(comparison: Comparison) -> np.ndarray:
    """Numbers of the reference that no two different ones share."""
    a = comparison.a
    return np.array([a.max_frequency, a.free_energy, a.entropy, a.heat_capacity])


def _without_duplicates(comparisons: Sequence[Comparison]) -> list[Comparison]:
    kept: list[Comparison] = []
    for comparison in comparisons:
        mark = _fingerprint(comparison)
        if not any(
            other.formula == comparison.formula
            and other.n_atoms == comparison.n_atoms
            and np.allclose(_fingerprint(other), mark, rtol=SAME_REFERENCE, atol=0)
            for other in kept
        ):
            kept.append(comparison)
    return kept


def _confusion(materials: list[list[Comparison]], threshold: str) -> Confusion:
    counts = {f'{a}_{b}': 0 for a in ('stable', 'unstable') for b in ('stable', 'unstable')}
    weights = dict.fromkeys(counts, 0.0)
    for group in materials:
        for comparison in group:
            key = f'{comparison.a.verdicts[threshold]}_{comparison.b.verdicts[threshold]}'
            counts[key] += 1
            weights[key] += 1 / len(group)
    kept = []
    for verdict in ('stable', 'unstable'):
        total = weights[f'{verdict}_stable'] + weights[f'{verdict}_unstable']
        kept.append(weights[f'{verdict}_{verdict}'] / total if total else None)
    return Confusion(kept[0], kept[1], counts)
