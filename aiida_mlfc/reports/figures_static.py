"""Bands and DOS as a picture for a paper or a README, by matplotlib."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aiida_mlfc.core.phonons.record import Phonons
from aiida_mlfc.reports import palette
from aiida_mlfc.reports.band_path import branches, frequency_range, ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: inches
SIZE = (7.2, 4.2)
DOTS_PER_INCH = 200


def bands_and_dos(phonons: Phonons, title: str | None = None) -> Figure:
    """A matplotlib figure that belongs to no window: nothing global is touched, no display is needed.

    :param title: shown as it is; a ``$`` in it starts no formula.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout='constrained')
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    bands, dos = phonons.bands, phonons.dos
    for piece in branches(bands, phonons.stability.noise_floor):
        colour = palette.IMAGINARY if piece.imaginary else palette.REAL
        left.plot(piece.distances, piece.frequencies, color=colour, linewidth=1.1)
    marks = ticks(bands)
    for distance in marks.distances:
        left.axvline(distance, color='#aab2bd', linewidth=0.7, zorder=0)
    left.set_xticks(marks.distances, marks.labels)
    left.set_xlim(bands.distances[0], bands.distances[-1])
    left.set_ylim(*frequency_range(bands))
    left.set_ylabel('Frequency (THz)')
    left.set_xlabel('Wave vector')

    points, total = dos.frequency_points, dos.total_dos
    right.fill_betweenx(points, total, where=points >= 0.0, color=palette.NEUTRAL, alpha=0.3, linewidth=0)
    right.fill_betweenx(points, total, where=points <= 0.0, color=palette.IMAGINARY, alpha=0.4, linewidth=0)
    right.plot(total, points, color=palette.NEUTRAL, linewidth=0.9, label='total')
    if len(dos.symbols) > 1:
        for k, (symbol, projection) in enumerate(zip(dos.symbols, dos.projected_dos, strict=True)):
            colour = palette.ELEMENTS[k % len(palette.ELEMENTS)]
            right.plot(projection, points, color=colour, linewidth=1.1, label=symbol)
        right.legend(frameon=False, fontsize='small')
    right.set_xlim(0.0, 1.05 * float(np.max(total)) or 1.0)
    right.set_xlabel('DOS (states/THz/cell)')
    for axes in (left, right):
        axes.axhline(0.0, color='#59626e', linewidth=0.7, linestyle=':')
    if title:
        figure.suptitle(title, parse_math=False)
    return figure


def save_bands_and_dos(path: str | os.PathLike[str], phonons: Phonons, title: str | None = None) -> Path:
    """The same as a file; the suffix (``.png``, ``.svg``, ``.pdf``) chooses the format."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    bands_and_dos(phonons, title).savefig(target, dpi=DOTS_PER_INCH)
    return target
