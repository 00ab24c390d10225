"""Figures: plotly accepts them, and what they show is what was computed."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from aiida_mlfc.core.phonons.record import Bands
from aiida_mlfc.reports import palette
from aiida_mlfc.reports.band_path import branches, display_label, frequency_range, ticks
from aiida_mlfc.reports.figures import bands_and_dos, stability_curve, thermal_curves
from aiida_mlfc.reports.figures_static import save_bands_and_dos
from aiida_mlfc.reports.plain_json import json_text

plotly_objects = pytest.importorskip('plotly.graph_objects')


def named(figure, name):
    return [trace for trace in figure['data'] if trace.get('name') == name]


def finite(values):
    return np.array([v for v in values if v is not None])


def one_branch(frequencies) -> Bands:
    frequencies = np.array(frequencies, dtype=float)
    n = len(frequencies)
    return Bands(np.zeros((n, 3)), np.arange(n, dtype=float), frequencies[:, None], np.array([[0, n]]), [('Γ', 'X_1')])


@pytest.mark.parametrize('name', ['aluminium', 'bcc_copper', 'copper_gold'])
def test_plotly_and_json_accept_the_figures(name, request):
    phonons = request.getfixturevalue(name).phonons
    n_modes = phonons.bands.frequencies.shape[1]
    thermal = thermal_curves(phonons.thermal, n_modes)
    for figure in (bands_and_dos(phonons), thermal, stability_curve(phonons.stability)):
        plotly_objects.Figure(figure)
        assert json.loads(json_text(figure)) == figure


def test_labels_and_jumps(aluminium):
    found = ticks(aluminium.phonons.bands)
    assert found.labels == ['Γ', 'X', 'U|K', 'Γ', 'L', 'W', 'X']
    axis = bands_and_dos(aluminium.phonons)['layout']['xaxis']
    assert axis['ticktext'] == found.labels
    assert axis['tickvals'] == pytest.approx(found.distances, abs=1e-5)


def test_names_of_points():
    shown = [display_label(name) for name in ('Γ', 'GAMMA', 'X', 'U_2', 'SIGMA_0', 'H_12')]
    assert shown == ['Γ', 'Γ', 'X', 'U₂', 'Σ₀', 'H₁₂']


def test_axes_have_units_and_are_shared(copper_gold):
    figure = bands_and_dos(copper_gold.phonons)
    assert 'THz' in figure['layout']['yaxis']['title']['text']
    assert 'states/THz' in figure['layout']['xaxis2']['title']['text']
    assert {trace.get('yaxis', 'y') for trace in figure['data']} == {'y'}
    assert 'yaxis2' not in figure['layout']


def test_imaginary_modes_have_their_colour(bcc_copper, aluminium):
    imaginary, = named(bands_and_dos(bcc_copper.phonons), 'imaginary modes')
    real, = named(bands_and_dos(bcc_copper.phonons), 'real modes')
    assert imaginary['line']['color'] == palette.IMAGINARY != real['line']['color']
    assert finite(imaginary['y']).min() == pytest.approx(bcc_copper.phonons.bands.frequencies.min(), abs=1e-4)
    assert finite(imaginary['y']).max() <= 0.0
    assert finite(real['y']).min() >= 0.0
    assert bands_and_dos(bcc_copper.phonons)['layout']['yaxis']['range'][0] < finite(imaginary['y']).min()
    # A stable crystal has none, whatever the last digit at Γ says, and no empty strip below zero.
    assert named(bands_and_dos(aluminium.phonons), 'imaginary modes') == []
    assert bands_and_dos(aluminium.phonons)['layout']['yaxis']['range'][0] == 0.0


def test_branches_are_cut_at_zero():
    pieces = branches(one_branch([1.0, -1.0, -2.0, 0.0, 3.0]), noise_floor=1e-6)
    assert [p.imaginary for p in pieces] == [False, True, False]
    assert pieces[0].distances.tolist() == [0.0, 0.5]
    assert pieces[1].distances[0] == 0.5
    assert pieces[1].frequencies.min() == -2.0
    assert np.concatenate([p.frequencies for p in pieces if not p.imaginary]).min() >= 0.0


def test_noise_is_not_imaginary():
    assert not any(p.imaginary for p in branches(one_branch([-1e-5, 1.0]), noise_floor=1e-6))
    assert not any(p.imaginary for p in branches(one_branch([-0.1, 1.0]), noise_floor=0.2))
    assert frequency_range(one_branch([-1e-5, 1.0]))[0] == 0.0


def test_projections(copper_gold, aluminium):
    figure = bands_and_dos(copper_gold.phonons)
    dos = copper_gold.phonons.dos
    assert dos.symbols == ['Au', 'Cu']
    for symbol, projection in zip(dos.symbols, dos.projected_dos, strict=True):
        trace, = named(figure, symbol)
        assert trace['x'] == pytest.approx(projection, abs=1e-4)
    assert named(bands_and_dos(aluminium.phonons), 'Al') == []  # it is the total


def test_thermal_curves(copper_gold):
    thermal = copper_gold.phonons.thermal
    figure = thermal_curves(thermal, 12)
    energy, = named(figure, 'free energy')
    assert energy['y'] == pytest.approx(thermal.free_energy, abs=1e-4)
    limit, = named(figure, 'Dulong–Petit limit')
    assert limit['y'][0] == pytest.approx(12 * 8.314462, abs=1e-3)
    assert thermal.heat_capacity[-1] == pytest.approx(limit['y'][0], rel=0.02)
    assert 'K' in figure['layout']['xaxis']['title']['text']
    assert 'kJ/mol' in figure['layout']['yaxis']['title']['text']


def test_stability_curve(bcc_copper):
    stability = bcc_copper.phonons.stability
    figure = stability_curve(stability)
    assert figure['data'][0]['y'][-1] == pytest.approx(100 * stability.unstable_fraction[-1], abs=1e-4) != 0.0
    assert [trace['name'] for trace in figure['data'][1:]] == [
        '0 THz: unstable', '−0.05 THz: unstable', '−0.15 THz: unstable', '−0.299 THz: unstable']
    floor = figure['layout']['shapes'][0]
    assert (floor['x0'], floor['x1']) == (-stability.noise_floor, stability.noise_floor)
    assert 'noise floor' in figure['layout']['annotations'][0]['text']


def test_verdicts_of_another_version_are_left_out(aluminium):
    figure = stability_curve(replace(aluminium.phonons.stability, verdicts={'of tomorrow': 'stable'}))
    assert len(figure['data']) == 1


@pytest.mark.parametrize('suffix', ['png', 'svg'])
def test_static_figure(bcc_copper, copper_gold, tmp_path, suffix):
    for name, crystal in (('a', bcc_copper), ('b', copper_gold)):
        path = save_bands_and_dos(tmp_path / 'new' / f'{name}.{suffix}', crystal.phonons, title='$\\unknown{ <b>')
        assert path.stat().st_size > 10_000
