"""Figures of the benchmark as plotly's plain dictionaries: ratios by case, accuracy against time, growth curves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from force_constants import ALONE, MEMORY, OFFICIAL, WHOLE

from aiida_mlfc.reports import palette

Figure = dict[str, Any]
COLOURS = (palette.ELEMENTS[0], palette.ELEMENTS[1], palette.ELEMENTS[2], palette.ELEMENTS[3], palette.ELEMENTS[5])
#: of each quantity of force constants, by precision: colour and symbol
MARKS = {
    (ALONE, 'float32'): (COLOURS[0], 'circle-open'), (ALONE, 'float64'): (COLOURS[0], 'circle'),
    (WHOLE, 'float32'): (COLOURS[4], 'diamond-open'), (WHOLE, 'float64'): (COLOURS[4], 'diamond'),
    (MEMORY, 'float32'): (COLOURS[2], 'square-open'), (MEMORY, 'float64'): (COLOURS[2], 'square'),
}  # fmt: skip
SHORT = {ALONE: 'time, force constants alone', WHOLE: 'time from the unit cell on', MEMORY: 'peak memory'}
#: pixels: of a case in a figure of ratios, and of what is around them
STEP, AROUND = 34, 150


def _axis(title: str, **parts: Any) -> dict[str, Any]:
    return {
        'title': {'text': title, 'standoff': 8}, 'showline': True, 'mirror': 'all', 'linecolor': '#59626e',
        'ticks': 'inside', 'tickcolor': '#59626e', 'gridcolor': '#dfe3e8', 'zeroline': False, 'automargin': True,
        **parts,
    }  # fmt: skip


def _log_axis(title: str, values: Iterable[float], **parts: Any) -> dict[str, Any]:
    """A logarithmic axis around ``values`` with plain numbers: 1, 2, 5 in short ranges, powers of ten in long ones."""
    known = [value for value in values if value > 0]
    low, high = min(known), max(known)
    span = math.log10(high / low)
    steps = (1, 2, 5) if span < 2 else (1,)
    every = max(1, round(span / 8))
    ticks = [
        step * 10.0**power
        for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        if power % every == 0
        for step in steps
    ]
    room = max(0.06 * span, 0.05)
    return _axis(
        title, type='log', tickvals=ticks, ticktext=[_tick(value) for value in ticks],
        range=[math.log10(low) - room, math.log10(high) + room], **parts,
    )  # fmt: skip


def _tick(value: float) -> str:
    """As a person writes it."""
    if 1e-3 < value < 1e4:
        return f'{value:.4g}'
    return f'10<sup>{round(math.log10(value))}</sup>' if round(math.log10(value), 9) % 1 == 0 else f'{value:.0e}'


def _layout(**parts: Any) -> dict[str, Any]:
    return {
        'font': {'family': 'system-ui, "Segoe UI", "Liberation Sans", sans-serif', 'size': 13, 'color': '#1c2430'},
        'paper_bgcolor': '#ffffff', 'plot_bgcolor': '#ffffff', 'hovermode': 'closest',
        'margin': {'l': 64, 'r': 24, 't': 16, 'b': 56},
        'legend': {'orientation': 'h', 'x': 0, 'y': 1.02, 'yanchor': 'bottom'},
        **parts,
    }  # fmt: skip


def _equal_line() -> dict[str, Any]:
    """Where ours is as good as the peer."""
    return {'type': 'line', 'xref': 'x', 'x0': 1, 'x1': 1, 'yref': 'paper', 'y0': 0, 'y1': 1, 'layer': 'below',
            'line': {'color': palette.NEUTRAL, 'width': 1.5, 'dash': 'dash'}}  # fmt: skip


def force_constant_ratios(rows: Sequence[dict[str, Any]]) -> Figure | None:
    """Ours over the official package: time and memory of force constants, a line for each crystal."""
    data = []
    for (quantity, dtype), (colour, symbol) in MARKS.items():
        chosen = [r for r in rows if r['quantity'] == f'{quantity} in {dtype}' and r['peer'] == OFFICIAL]
        if chosen:
            data.append({
                'type': 'scatter', 'mode': 'markers', 'name': f'{SHORT[quantity]}, {dtype}',
                'x': [r['ratio'] for r in chosen], 'y': [r['case'] for r in chosen],
                'marker': {'color': colour, 'symbol': symbol, 'size': 11, 'line': {'width': 2, 'color': colour}},
                'hovertemplate': '%{y}: %{x:.3f}<extra>' + f'{SHORT[quantity]}, {dtype}</extra>',
            })  # fmt: skip
    if not data:
        return None
    n_cases = len({y for trace in data for y in trace['y']})
    layout = _layout(
        xaxis=_log_axis('ours / official (below 1: ours is better)', [1.0, *(x for trace in data for x in trace['x'])]),
        yaxis=_axis('', autorange='reversed', ticks='', type='category'), shapes=[_equal_line()],
    )  # fmt: skip
    return {
        'title': 'Exact force constants against the official MatterSim with phonopy: same weights, same run',
        'caption': 'Every point is a ratio; the dashed line is parity. Open symbols float32, filled float64.',
        'data': data, 'layout': layout, 'wide': True, 'height': AROUND + STEP * n_cases,
    }  # fmt: skip


def target_ratios(rows: Sequence[dict[str, Any]]) -> Figure | None:
    """How far each ratio is from the one that is wanted."""
    chosen = [row for row in rows if row['target'] is not None]
    if not chosen:
        return None
    labels = [f'{k + 1}' for k in range(len(chosen))]
    met = [row['ratio'] <= row['target'] for row in chosen]
    shares = [row['ratio'] / row['target'] for row in chosen]
    return {
        'title': 'Measured ratio over wanted ratio, by the numbers of the table of targets',
        'caption': 'Left of the line the target is met.',
        'data': [{
            'type': 'bar', 'orientation': 'h', 'y': labels, 'x': shares,
            'marker': {'color': [palette.STABLE if ok else palette.IMAGINARY for ok in met]}, 'showlegend': False,
            'customdata': [f'{row["case"]}: {row["quantity"]}' for row in chosen],
            'hovertemplate': '%{customdata}<br>%{x:.3g} of the target<extra></extra>',
        }],
        'layout': _layout(
            xaxis=_log_axis('ratio / target', [1.0, *shares]), shapes=[_equal_line()], bargap=0.35,
            yaxis=_axis('', autorange='reversed', ticks='', type='category', dtick=1),
        ),
        'wide': True, 'height': 90 + 20 * len(chosen),
    }  # fmt: skip


def curve_figures(curves: Sequence[dict[str, Any]]) -> list[Figure]:
    """One figure for each title, one line (or cloud of points) for each name in it."""
    figures = []
    for title in dict.fromkeys(curve['figure'] for curve in curves):
        chosen = [curve for curve in curves if curve['figure'] == title]
        data = []
        for k, name in enumerate(dict.fromkeys(curve['name'] for curve in chosen)):
            parts = [curve for curve in chosen if curve['name'] == name]
            colour = COLOURS[k % len(COLOURS)]
            labels = [label for curve in parts for label in curve['labels'] or [''] * len(curve['x'])]
            data.append({
                'type': 'scatter', 'mode': 'markers' if any(labels) else 'lines+markers', 'name': name,
                'x': [x for curve in parts for x in curve['x']], 'y': [y for curve in parts for y in curve['y']],
                'text': labels, 'line': {'color': colour, 'width': 2}, 'marker': {'color': colour, 'size': 9},
                'hovertemplate': '%{text} %{x:.3g}, %{y:.3g}<extra>' + name + '</extra>',
            })  # fmt: skip
        is_cloud = any(trace['mode'] == 'markers' for trace in data)
        x, y = ([value for curve in chosen for value in curve[axis]] for axis in 'xy')
        figures.append({
            'title': title, 'caption': chosen[0]['caption'], 'data': data, 'wide': is_cloud,
            'layout': _layout(xaxis=_log_axis(chosen[0]['x_title'], x), yaxis=_log_axis(chosen[0]['y_title'], y),
                              showlegend=len(data) > 1),
        })  # fmt: skip
    return figures
