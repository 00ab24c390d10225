"""Figures of one comparison as plotly's plain dictionaries: reference in grey, what is compared with it in colour."""

from __future__ import annotations

from typing import Any

import numpy as np

from aiida_mlfc.core.comparison.compare import Compared
from aiida_mlfc.core.comparison.sampling import Sampled
from aiida_mlfc.core.comparison.thermodynamics import Thermodynamics
from aiida_mlfc.core.phonons.record import Bands
from aiida_mlfc.reports import palette
from aiida_mlfc.reports.band_path import frequency_range, ticks
from aiida_mlfc.reports.figures import DECIMALS, PATH_DECIMALS, Figure, _axis, _joined, _layout
from aiida_mlfc.reports.page_data import shared_arrays
from aiida_mlfc.reports.plain_json import plain, rounded

REFERENCE, COMPARED = palette.NEUTRAL, palette.REAL
NAMES = ('reference', 'compared')
#: share of the highest frequency by which lines of the DOS are broadened
BROADENING = 0.012
POINTS_OF_DOS = 201
#: points of a scatter plot; more are not seen apart
MOST_POINTS = 2500
#: eV/Å²; force constants below this lie under the axis of the decay
SMALLEST_SHOWN = 1e-5
#: eV/Å², significant digits of what is drawn
DIGITS_OF_FORCE_CONSTANTS = 5
_LEGEND = {'orientation': 'h', 'x': 0.0, 'y': 1.0, 'yanchor': 'bottom'}


def _line(x: Any, y: Any, k: int, dashed: bool = False, **more: Any) -> dict[str, Any]:
    """A curve of the reference (k = 0) or of what is compared with it (k = 1)."""
    colour = (REFERENCE, COMPARED)[k]
    return {
        'type': 'scatter',
        'mode': 'lines',
        'name': NAMES[k],
        'x': x,
        'y': y,
        'line': {'color': colour, 'width': (3.0, 1.6)[k], **({'dash': 'dash'} if dashed else {})},
        **more,
    }


def density_of_states(sampled: Sampled) -> tuple[np.ndarray, list[np.ndarray]]:
    """Frequencies (THz) and both densities of states per cell (1/THz), from the mesh with Gaussian lines."""
    low, high = min(sampled.a.min(), sampled.b.min()), max(sampled.a.max(), sampled.b.max())
    width = BROADENING * high
    points = np.linspace(low - 4 * width, high + 4 * width, POINTS_OF_DOS)
    share = sampled.weights / sampled.weights.sum()
    found = []
    for frequencies in (sampled.a, sampled.b):
        lines = np.exp(-0.5 * ((points[:, None] - frequencies.ravel()[None]) / width) ** 2)
        lines /= width * np.sqrt(2 * np.pi)
        found.append(lines @ np.repeat(share, frequencies.shape[1]))
    return points, found


def bands_and_dos(compared: Compared) -> Figure:
    """Both band structures over each other, and both densities of states beside them."""
    sampling = compared.sampling
    bands = (sampling.bands_a, sampling.bands_b)
    marks = ticks(bands[0])
    data = []
    for k, one in enumerate(bands):
        x, y = _joined(_segments(one))
        template = '%{y:.3f} THz<extra>' + NAMES[k] + '</extra>'
        data.append(_line(x, y, k, connectgaps=False, hovertemplate=template))
    points, densities = density_of_states(sampling.mesh)
    for k, density in enumerate(densities):
        data.append(
            _line(
                rounded(density, DECIMALS),
                rounded(points, DECIMALS),
                k,
                xaxis='x2',
                yaxis='y',
                showlegend=False,
                hovertemplate='%{x:.2f} states/THz at %{y:.3f} THz<extra>' + NAMES[k] + '</extra>',
            )
        )
    ranges = [frequency_range(one) for one in bands]
    low, high = min(r[0] for r in ranges), max(r[1] for r in ranges)
    span = [float(bands[0].distances[0]), float(bands[0].distances[-1])]
    layout = _layout(
        xaxis=_axis(
            'Wave vector',
            domain=[0.0, 0.74],
            range=span,
            tickmode='array',
            ticks='',
            tickangle=0,
            tickvals=rounded(marks.distances, PATH_DECIMALS),
            ticktext=marks.labels,
            gridcolor='#aab2bd',
        ),
        xaxis2=_axis('DOS (1/THz/cell)', domain=[0.765, 1.0], rangemode='tozero', anchor='y', nticks=4),
        yaxis=_axis('Frequency (THz)', range=[round(low, DECIMALS), round(high, DECIMALS)]),
        legend=_LEGEND,
    )
    return {'data': data, 'layout': layout}


def _segments(bands: Bands) -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        (bands.distances[start:stop], branch)
        for start, stop in bands.segments
        for branch in bands.frequencies[start:stop].T
    ]


def thermal(compared: Compared) -> Figure:
    """Free energy above; entropy and heat capacity (dashed) below."""
    data = []
    both: tuple[Thermodynamics, Thermodynamics] = (compared.thermal_a, compared.thermal_b)
    for k, one in enumerate(both):
        kelvin = rounded(one.temperatures, 1)
        for name, unit, axis, dashed in (
            ('free_energy', 'kJ/mol', 'y', False),
            ('entropy', 'J/K/mol', 'y2', False),
            ('heat_capacity', 'J/K/mol', 'y2', True),
        ):
            readable = name.replace('_', ' ')
            data.append(
                _line(
                    kelvin,
                    rounded(getattr(one, name), DECIMALS),
                    k,
                    dashed,
                    xaxis='x',
                    yaxis=axis,
                    showlegend=name == 'free_energy',
                    hovertemplate=f'{readable} %{{y:.3f}} {unit} at %{{x:.0f}} K<extra>{NAMES[k]}</extra>',
                )
            )
    layout = _layout(
        xaxis=_axis('Temperature (K)', anchor='y2', range=[0, float(both[0].temperatures[-1])]),
        yaxis=_axis('F (kJ/mol)', domain=[0.58, 1.0]),
        yaxis2=_axis('S, C<sub>V</sub> (J/K/mol)', domain=[0.0, 0.5], rangemode='tozero'),
        legend=_LEGEND,
    )
    return {'data': data, 'layout': layout}


def _chosen(size: int) -> np.ndarray:
    """At most ``MOST_POINTS`` places out of ``size``, the same ones each time."""
    if size <= MOST_POINTS:
        return np.arange(size)
    return np.sort(np.random.default_rng(0).choice(size, MOST_POINTS, replace=False))


def _points(x: np.ndarray, y: np.ndarray, colour: str, name: str, template: str, **more: Any) -> dict[str, Any]:
    return {
        'type': 'scatter',
        'mode': 'markers',
        'name': name,
        'x': [float(f'{v:.{DIGITS_OF_FORCE_CONSTANTS}g}') for v in x],
        'y': [float(f'{v:.{DIGITS_OF_FORCE_CONSTANTS}g}') for v in y],
        'marker': {'color': colour, 'size': 5, 'opacity': 0.55},
        'hovertemplate': template + f'<extra>{name}</extra>',
        **more,
    }


def decay(compared: Compared) -> Figure:
    """Size of the force constants of a pair against its distance, logarithmic, the atom itself left out."""
    aligned = compared.aligned
    data = []
    sides = ((aligned.a, 0), (aligned.b, 1)) if aligned.same_supercell else ((aligned.a, 0),)
    for canonical, k in sides:
        sizes = np.linalg.norm(canonical.force_constants.array, axis=(2, 3)).ravel()
        distances = compared.distances.ravel()
        shown = np.flatnonzero((distances > 0.1) & (sizes > SMALLEST_SHOWN))
        shown = shown[_chosen(len(shown))]
        data.append(
            _points(
                distances[shown],
                sizes[shown],
                (REFERENCE, COMPARED)[k],
                NAMES[k],
                '|Φ| %{y:.3g} eV/Å² at %{x:.2f} Å',
            )
        )
    layout = _layout(
        xaxis=_axis('Distance (Å)', rangemode='tozero'),
        yaxis=_axis('|Φ| (eV/Å²)', type='log', exponentformat='power'),
        legend=_LEGEND,
    )
    return {'data': data, 'layout': layout}


def parity(compared: Compared) -> Figure:
    """Every frequency of the mesh, and every component of the force constants, of one side against the other's."""
    mesh = compared.sampling.mesh
    a, b = mesh.a.ravel(), mesh.b.ravel()
    shown = _chosen(len(a))
    data = [_diagonal(np.concatenate([a, b]), 'x', 'y')]
    data.append(_points(a[shown], b[shown], COMPARED, 'frequencies', '%{x:.3f} → %{y:.3f} THz', xaxis='x', yaxis='y'))
    axes = {
        'xaxis': _axis('Reference ω (THz)', domain=[0.0, 0.43]),
        'yaxis': _axis('Compared ω (THz)'),
    }
    if compared.aligned.same_supercell:
        one, other = (side.force_constants.array.ravel() for side in (compared.aligned.a, compared.aligned.b))
        # Zeros by symmetry say nothing, and there are many.
        real = np.flatnonzero(np.maximum(np.abs(one), np.abs(other)) > SMALLEST_SHOWN)
        real = real[_chosen(len(real))]
        data.append(_diagonal(np.concatenate([one[real], other[real]]), 'x2', 'y2'))
        template = '%{x:.4g} → %{y:.4g} eV/Å²'
        data.append(
            _points(one[real], other[real], palette.ELEMENTS[1], 'force constants', template, xaxis='x2', yaxis='y2')
        )
        axes['xaxis2'] = _axis('Reference Φ (eV/Å²)', domain=[0.57, 1.0], anchor='y2')
        axes['yaxis2'] = _axis('Compared Φ (eV/Å²)', anchor='x2')
    return {'data': data, 'layout': _layout(**axes, showlegend=False)}


def _diagonal(values: np.ndarray, x: str, y: str) -> dict[str, Any]:
    ends = rounded([values.min(), values.max()], DECIMALS)
    return {
        'type': 'scatter',
        'mode': 'lines',
        'x': ends,
        'y': ends,
        'xaxis': x,
        'yaxis': y,
        'hoverinfo': 'skip',
        'showlegend': False,
        'line': {'color': REFERENCE, 'width': 1.2, 'dash': 'dot'},
    }


def shells(compared: Compared) -> Figure | None:
    """Error of each shell of neighbours beside the size of its force constants; None where supercells differ."""
    errors = compared.summary.force_constants
    if errors is None:
        return None
    distances = rounded([shell.distance for shell in errors.shells], 3)
    data = []
    for k, (name, values) in enumerate(
        (('size of the reference (rms)', [s.size for s in errors.shells]), ('MAE', [s.mae for s in errors.shells]))
    ):
        # what is zero has no place on a logarithmic axis
        y = [float(f'{v:.4g}') if v > SMALLEST_SHOWN / 100 else None for v in values]
        template = '%{y:.3g} eV/Å² at %{x:.2f} Å<extra>' + name + '</extra>'
        data.append({**_line(distances, y, k, hovertemplate=template), 'mode': 'lines+markers', 'name': name})
    layout = _layout(
        xaxis=_axis('Distance (Å)', rangemode='tozero'),
        yaxis=_axis('Per component (eV/Å²)', type='log', exponentformat='power'),
        legend=_LEGEND,
    )
    return {'data': data, 'layout': layout}


def comparison_parcel(compared: Compared, reference: Any = None) -> dict[str, Any]:
    """Everything the page shows of one comparison.

    :param reference: a record with ``source`` and ``checks``, or None.
    """
    figures = {
        'bands': bands_and_dos(compared),
        'thermal': thermal(compared),
        'parity': parity(compared),
        'decay': decay(compared),
        'shells': shells(compared),
    }
    parcel = shared_arrays({key: figure for key, figure in figures.items() if figure is not None})
    content = compared.summary.to_dict()
    content.pop('force_constants')
    for name in ('mesh', 'commensurate', 'path'):
        content[name].pop('per_band')
    origin = {}
    if reference is not None:
        origin = {'source': reference.source.to_dict(), 'checks': reference.checks.to_dict()}
    return {**parcel, 'facts': plain(content), 'origin': plain(origin)}
