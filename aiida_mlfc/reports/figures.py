"""Interactive figures as plotly's plain dictionaries, ``{'data': [...], 'layout': {...}}``.

Nothing here imports plotly: the browser draws. ``plotly.graph_objects.Figure(figure)`` takes them in a notebook.
Imaginary frequencies are negative numbers and drawn in their own colour.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import units

from aiida_mlfc.core.phonons.record import Bands, DensityOfStates, Phonons, Stability, ThermalProperties
from aiida_mlfc.core.phonons.stability import COMMUNITY_THRESHOLDS
from aiida_mlfc.reports import palette
from aiida_mlfc.reports.band_path import branches, frequency_range, ticks
from aiida_mlfc.reports.plain_json import rounded

Figure = dict[str, Any]

#: decimals of what is drawn: frequencies to 1e-4 THz, path lengths to 1e-5 1/Å
DECIMALS = 4
PATH_DECIMALS = 5
#: J/K/mol
GAS_CONSTANT = units.kB * units.mol / units.J
#: THz, left end of the stability curve's axis where nothing is more unstable than that
STABILITY_AXIS = -0.6


def _layout(**parts: Any) -> dict[str, Any]:
    """What all figures share; black on white, so that an exported figure fits into a paper (the page recolours)."""
    return {
        'font': {'family': 'system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif', 'size': 13,
                 'color': '#1c2430'},
        'paper_bgcolor': '#ffffff', 'plot_bgcolor': '#ffffff', 'hovermode': 'closest', 'dragmode': 'zoom',
        'margin': {'l': 64, 'r': 26, 't': 60, 'b': 56},
        **parts,
    }


def _axis(title: str, **parts: Any) -> dict[str, Any]:
    """A framed axis with its unit."""
    return {
        'title': {'text': title, 'standoff': 8}, 'showline': True, 'mirror': 'all', 'linecolor': '#59626e',
        'ticks': 'inside', 'tickcolor': '#59626e', 'gridcolor': '#dfe3e8', 'zeroline': False, **parts,
    }


def _joined(pieces: list[tuple[np.ndarray, np.ndarray]]) -> tuple[list[float | None], list[float | None]]:
    """Many lines as one, with a gap after each: a browser draws one long line faster than a hundred short ones."""
    x: list[float | None] = []
    y: list[float | None] = []
    for distances, frequencies in pieces:
        x += [*rounded(distances, PATH_DECIMALS), None]
        y += [*rounded(frequencies, DECIMALS), None]
    return x[:-1], y[:-1]


def band_traces(bands: Bands, noise_floor: float) -> list[dict[str, Any]]:
    """The real branches as one trace; the imaginary pieces, where there are any, as a second."""
    pieces = branches(bands, noise_floor)
    traces = []
    for imaginary, name, colour in ((False, 'real', palette.REAL), (True, 'imaginary', palette.IMAGINARY)):
        x, y = _joined([(p.distances, p.frequencies) for p in pieces if p.imaginary is imaginary])
        if x:
            traces.append({
                'type': 'scatter', 'mode': 'lines', 'name': f'{name} modes', 'x': x, 'y': y, 'connectgaps': False,
                'line': {'color': colour, 'width': 1.6}, 'showlegend': imaginary,
                'hovertemplate': '%{y:.3f} THz<extra>' + ('imaginary' if imaginary else '') + '</extra>',
            })
    return traces


def dos_traces(dos: DensityOfStates) -> list[dict[str, Any]]:
    """The filled total, its part below zero in the colour of imaginary modes, and one line for each element.

    Frequencies are along y, to share the axis of the bands. An element alone is the total and not drawn twice.
    """
    points, total = dos.frequency_points, dos.total_dos
    at_zero = float(np.interp(0.0, points, total, left=0.0, right=0.0))
    parts = (
        ('total', np.concatenate(([0.0], points[points > 0.0])), np.concatenate(([at_zero], total[points > 0.0])),
         palette.NEUTRAL, palette.NEUTRAL_FILL),
        ('imaginary', np.concatenate((points[points < 0.0], [0.0])),
         np.concatenate((total[points < 0.0], [at_zero])), palette.IMAGINARY, palette.IMAGINARY_FILL),
    )
    traces: list[dict[str, Any]] = []
    for name, y, x, colour, fill in parts:
        if not (x > 0.0).any():
            continue
        traces.append({
            'type': 'scatter', 'mode': 'lines', 'name': f'{name} DOS', 'x': rounded(x, DECIMALS),
            'y': rounded(y, DECIMALS), 'xaxis': 'x2', 'yaxis': 'y', 'fill': 'tozerox', 'fillcolor': fill,
            'line': {'color': colour, 'width': 1.2}, 'showlegend': name == 'total',
            'hovertemplate': '%{x:.2f} states/THz at %{y:.3f} THz<extra>' + name + '</extra>',
        })
    if len(dos.symbols) > 1:
        y_points = rounded(points, DECIMALS)
        for k, (symbol, projection) in enumerate(zip(dos.symbols, dos.projected_dos, strict=True)):
            traces.append({
                'type': 'scatter', 'mode': 'lines', 'name': symbol, 'x': rounded(projection, DECIMALS),
                'y': y_points, 'xaxis': 'x2', 'yaxis': 'y', 'showlegend': True,
                'line': {'color': palette.ELEMENTS[k % len(palette.ELEMENTS)], 'width': 1.6},
                'hovertemplate': '%{x:.2f} states/THz at %{y:.3f} THz<extra>' + symbol + '</extra>',
            })
    return traces


def bands_and_dos(phonons: Phonons) -> Figure:
    """Bands and DOS beside each other on one frequency axis."""
    bands, dos = phonons.bands, phonons.dos
    marks = ticks(bands)
    span = [float(bands.distances[0]), float(bands.distances[-1])]
    low, high = frequency_range(bands)
    zero = {'type': 'line', 'xref': 'paper', 'x0': 0, 'x1': 1, 'yref': 'y', 'y0': 0, 'y1': 0, 'layer': 'below',
            'line': {'color': palette.NEUTRAL, 'width': 1.2, 'dash': 'dot'}}
    layout = _layout(
        xaxis=_axis('Wave vector', domain=[0.0, 0.72], range=span, tickmode='array', ticks='', tickangle=0,
                    tickvals=rounded(marks.distances, PATH_DECIMALS), ticktext=marks.labels, gridcolor='#aab2bd'),
        xaxis2=_axis('DOS (states/THz/cell)', domain=[0.745, 1.0], rangemode='tozero', anchor='y', nticks=4),
        yaxis=_axis('Frequency (THz)', range=[round(low, DECIMALS), round(high, DECIMALS)]),
        shapes=[zero] if low < 0.0 else [],
        legend={'orientation': 'h', 'x': 0.0, 'y': 1.0, 'yanchor': 'bottom'},
    )
    return {'data': band_traces(bands, phonons.stability.noise_floor) + dos_traces(dos), 'layout': layout}


def thermal_curves(thermal: ThermalProperties, n_modes: int | None = None) -> Figure:
    """Free energy above, entropy and heat capacity below, on one temperature axis.

    :param n_modes: branches of the crystal, three for each atom of the primitive cell; it draws the Dulong-Petit limit.
    """
    kelvin = rounded(thermal.temperatures, 2)
    curves = (
        ('free energy', thermal.free_energy, 'y', palette.REAL, 'kJ/mol'),
        ('entropy', thermal.entropy, 'y2', palette.ELEMENTS[1], 'J/K/mol'),
        ('heat capacity', thermal.heat_capacity, 'y2', palette.ELEMENTS[2], 'J/K/mol'),
    )
    data: list[dict[str, Any]] = [{
        'type': 'scatter', 'mode': 'lines', 'name': name, 'x': kelvin, 'y': rounded(values, DECIMALS),
        'xaxis': 'x', 'yaxis': axis, 'line': {'color': colour, 'width': 2},
        'hovertemplate': '%{y:.2f} ' + unit + ' at %{x:.0f} K<extra>' + name + '</extra>',
    } for name, values, axis, colour, unit in curves]
    if n_modes is not None:
        data.append({
            'type': 'scatter', 'mode': 'lines+text', 'name': 'Dulong–Petit limit', 'xaxis': 'x', 'yaxis': 'y2',
            'showlegend': False, 'text': ['3NR'], 'textposition': 'top right', 'cliponaxis': False,
            'x': [kelvin[0], kelvin[-1]], 'y': [round(n_modes * GAS_CONSTANT, DECIMALS)] * 2, 'hoverinfo': 'skip',
            'line': {'color': palette.NEUTRAL, 'width': 1.2, 'dash': 'dash'},
        })
    layout = _layout(
        xaxis=_axis('Temperature (K)', anchor='y2', range=[kelvin[0], kelvin[-1]]),
        yaxis=_axis('F (kJ/mol)', domain=[0.56, 1.0]),
        yaxis2=_axis('S, C<sub>V</sub> (J/K/mol)', domain=[0.0, 0.5], rangemode='tozero'),
        legend={'orientation': 'h', 'x': 0.0, 'y': 1.0, 'yanchor': 'bottom'},
    )
    return {'data': data, 'layout': layout}


def stability_curve(stability: Stability) -> Figure:
    """Share of all modes below a threshold, for every threshold, with the verdicts and the noise floor marked."""
    thresholds, fraction = stability.thresholds, 100.0 * stability.unstable_fraction
    left = float(thresholds[0]) if stability.min_frequency < STABILITY_AXIS else STABILITY_AXIS
    right = -0.04 * left
    top = max(1.0, 1.15 * float(fraction.max()))
    data: list[dict[str, Any]] = [{
        'type': 'scatter', 'mode': 'lines', 'name': 'share of modes', 'x': rounded(thresholds, DECIMALS),
        'y': rounded(fraction, DECIMALS), 'line': {'color': palette.REAL, 'width': 2}, 'showlegend': False,
        'hovertemplate': '%{y:.2f} % of the modes below %{x:.3f} THz<extra></extra>',
    }]
    shapes = [{'type': 'rect', 'xref': 'x', 'yref': 'paper', 'x0': -stability.noise_floor, 'x1': stability.noise_floor,
               'y0': 0, 'y1': 1, 'fillcolor': palette.NEUTRAL, 'opacity': 0.35, 'layer': 'below',
               'line': {'color': palette.NEUTRAL, 'width': 1}}]
    for name, verdict in stability.verdicts.items():
        threshold = COMMUNITY_THRESHOLDS.get(name)
        if threshold is None:  # a record of another version
            continue
        colour = palette.STABLE if verdict == 'stable' else palette.IMAGINARY
        shapes.append({'type': 'line', 'xref': 'x', 'yref': 'paper', 'x0': threshold, 'x1': threshold, 'y0': 0, 'y1': 1,
                       'layer': 'below', 'line': {'color': colour, 'width': 1.2, 'dash': 'dash'}})
        data.append({
            'type': 'scatter', 'mode': 'markers', 'name': f'{threshold:g} THz: {verdict}'.replace('-', '−'),
            'x': [threshold], 'y': [round(float(np.interp(threshold, thresholds, fraction)), DECIMALS)],
            'marker': {'color': colour, 'size': 9, 'symbol': 'circle' if verdict == 'stable' else 'x'},
            'hovertemplate': f'{name}: {verdict}<br>%{{y:.2f}} % of the modes below %{{x:.3f}} THz<extra></extra>',
        })
    layout = _layout(
        xaxis=_axis('Threshold (THz)', range=[left, right]),
        yaxis=_axis('Modes below it (%)', range=[-0.03 * top, top]),
        shapes=shapes,
        legend={'x': 0.02, 'xanchor': 'left', 'y': 0.98, 'yanchor': 'top', 'bgcolor': 'rgba(255,255,255,0)'},
        annotations=[{
            'text': f'noise floor {stability.noise_floor:.1e} THz', 'xref': 'paper', 'yref': 'paper', 'x': 0, 'y': 1,
            'xanchor': 'left', 'yanchor': 'bottom', 'showarrow': False, 'font': {'size': 12},
        }],
    )
    return {'data': data, 'layout': layout}
