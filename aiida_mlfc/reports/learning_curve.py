"""How a training went: loss by step, and the error of validated frequencies where there was a validation."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiida_mlfc.reports import palette

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: terms of the loss: key in the log, what people call it, colour
TERMS = (
    ('displaced', 'forces or Hessian products', palette.ELEMENTS[0]),
    ('at_rest', 'forces at rest', palette.ELEMENTS[1]),
    ('stress', 'stress at rest', palette.ELEMENTS[2]),
    ('energy', 'energy', palette.ELEMENTS[3]),
)
#: inches
SIZE = (7.2, 3.6)
DOTS_PER_INCH = 160
#: losses below are rounding, as forces at sites where symmetry forbids them
SMALLEST = 1e-8
#: ratio of the ends of an axis up to which ticks between powers of ten are labelled
FEW_TICKS = 30


def read_log(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The rows of ``log.jsonl``.

    :raises ValueError: if a line is no row.
    """
    rows = [json.loads(line) for line in Path(path).read_text(encoding='utf-8').splitlines()]
    if wrong := [row for row in rows if not isinstance(row, dict) or 'step' not in row]:
        raise ValueError(f'{path}: got the line {wrong[0]}, wanted rows with a step')
    return rows


def learning_curve(rows: Sequence[Mapping[str, Any]], title: str | None = None) -> Figure:
    """A matplotlib figure: the terms of the loss on the left, on the right validated frequencies, if any were.

    :param rows: of a training log.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    validated = [row for row in rows if 'valid_frequency_mae' in row]
    figure = Figure(figsize=SIZE, layout='constrained')
    axes = figure.subplots(1, 2 if validated else 1, squeeze=False)[0]
    for key, name, colour in TERMS:
        points = [(row['step'], row[key]) for row in rows if row.get(key, 0.0) > SMALLEST]
        if points:
            axes[0].plot(*zip(*points, strict=True), color=colour, label=name, linewidth=1.3)
    axes[0].set_ylabel('Loss')
    if validated:
        steps = [row['step'] for row in validated]
        for key, name, colour in (
            ('valid_frequency_max', 'worst mode', palette.IMAGINARY),
            ('valid_frequency_mae', 'mean', palette.REAL),
        ):
            axes[1].plot(steps, [row[key] for row in validated], 'o-', color=colour, label=name, markersize=3)
        axes[1].set_ylabel('Error of validated frequencies (THz)')
    first = [row['step'] for row in rows if row.get('stage') == 1]
    has_two = any(row.get('stage') == 2 for row in rows)
    for panel in axes:
        panel.set_xlabel('Step')
        panel.set_yscale('log')
        low, high = panel.get_ylim()
        panel.yaxis.set_major_formatter('{x:g}')
        panel.yaxis.set_minor_formatter('{x:g}' if high / low < FEW_TICKS else NullFormatter())
        if has_two:
            begin = max(first, default=0)
            panel.axvline(begin, color=palette.NEUTRAL, linewidth=0.9, linestyle='--')
            panel.text(begin, 0.99, ' stage two', transform=panel.get_xaxis_transform(), va='top', fontsize='small')
        panel.legend(frameon=False, fontsize='small')
    if title:
        figure.suptitle(title, parse_math=False)
    return figure


def save_learning_curve(
    path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]], title: str | None = None
) -> Path:
    """The same as a file; the suffix (``.png``, ``.svg``, ``.pdf``) chooses the format."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    learning_curve(rows, title).savefig(target, dpi=DOTS_PER_INCH)
    return target
