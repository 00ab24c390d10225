"""The horizontal axis of a band structure, and the branches split where they become imaginary.

Shared by the interactive and the static figures, so that both show the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aiida_mlfc.core.phonons.record import Bands

#: names of points and lines that seekpath spells out
GREEK = {'GAMMA': 'Γ', 'SIGMA': 'Σ', 'DELTA': 'Δ', 'LAMBDA': 'Λ'}
_SUBSCRIPTS = str.maketrans('0123456789', '₀₁₂₃₄₅₆₇₈₉')
#: THz; what lies less than this below zero cannot be told from zero in a figure
INVISIBLE = 1e-3
#: 1/Å; two ends of segments nearer than this share a tick
SAME_DISTANCE = 1e-8


@dataclass(frozen=True)
class Ticks:
    """Where the path turns or jumps.

    :param distances: shape ``(n_ticks,)``, 1/Å.
    :param labels: ``X`` at a corner, ``U|K`` where the path jumps from U to K.
    """

    distances: list[float]
    labels: list[str]


@dataclass(frozen=True)
class Polyline:
    """A piece of one branch, all of it real or all of it imaginary.

    :param distances: shape ``(n,)``, 1/Å.
    :param frequencies: shape ``(n,)``, THz.
    """

    distances: np.ndarray
    frequencies: np.ndarray
    imaginary: bool


def display_label(name: str) -> str:
    """seekpath's name of a q-point as physicists write it: ``Γ``, ``Σ₀``, ``U₂``."""
    symbol, _, index = name.partition('_')
    return GREEK.get(symbol, symbol) + index.translate(_SUBSCRIPTS)


def ticks(bands: Bands) -> Ticks:
    """One tick for each end of a segment; where two segments meet, one for both."""
    distances: list[float] = []
    names: list[list[str]] = []
    for (start, stop), pair in zip(bands.segments, bands.labels, strict=True):
        for k, label in ((start, pair[0]), (stop - 1, pair[1])):
            shown = display_label(label)
            if distances and abs(bands.distances[k] - distances[-1]) < SAME_DISTANCE:
                if shown not in names[-1]:
                    names[-1].append(shown)
            else:
                distances.append(float(bands.distances[k]))
                names.append([shown])
    return Ticks(distances, ['|'.join(group) for group in names])


def _split_at_zero(x: np.ndarray, y: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Cut a line where it crosses zero; the crossing, interpolated, ends one piece and begins the next."""
    # A mode that is zero to the last bit belongs to either side; without a sign no crossing would be found there.
    y = np.where(y == 0.0, np.finfo(float).tiny, y)
    pieces = []
    begin_x: list[float] = []
    begin_y: list[float] = []
    first = 0
    for k in np.flatnonzero(np.signbit(y[:-1]) != np.signbit(y[1:])).tolist():
        crossing = x[k] - y[k] * (x[k + 1] - x[k]) / (y[k + 1] - y[k])
        pieces.append((np.array([*begin_x, *x[first:k + 1], crossing]), np.array([*begin_y, *y[first:k + 1], 0.0])))
        begin_x, begin_y, first = [crossing], [0.0], k + 1
    pieces.append((np.array([*begin_x, *x[first:]]), np.array([*begin_y, *y[first:]])))
    return pieces


def branches(bands: Bands, noise_floor: float) -> list[Polyline]:
    """Every branch on every segment, cut into real and imaginary pieces.

    :param noise_floor: THz; a piece that stays above minus this is drawn as real, for its sign means nothing.
    """
    drawn_from = max(noise_floor, INVISIBLE)
    pieces = []
    for start, stop in bands.segments:
        x = bands.distances[start:stop]
        for branch in bands.frequencies[start:stop].T:
            for distances, frequencies in _split_at_zero(x, branch):
                pieces.append(Polyline(distances, frequencies, bool(frequencies.min() < -drawn_from)))
    return pieces


def frequency_range(bands: Bands) -> tuple[float, float]:
    """Axis limits in THz: zero is always seen, and a little air above and below."""
    lowest, highest = min(0.0, float(bands.frequencies.min())), max(0.0, float(bands.frequencies.max()))
    air = 0.04 * (highest - lowest) or 1.0
    # Rounding at Γ must not open an empty strip of imaginary frequencies below zero.
    return (lowest - air if lowest < -0.01 * highest else 0.0), highest + air
