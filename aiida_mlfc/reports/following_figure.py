"""The tree of mode following as a figure: energy downwards, each crystal under its parent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiida_mlfc.reports.palette import IMAGINARY, NEUTRAL, STABLE

#: colour and symbol of each verdict
VERDICTS = {
    'stable': (STABLE, 'circle'),
    'unstable': (IMAGINARY, 'circle-open'),
    'budget': ('#e69f00', 'diamond-open'),
    'elsewhere': ('#e69f00', 'square-open'),
    'dead end': (NEUTRAL, 'x'),
    'failed': (NEUTRAL, 'x'),
    'open': (NEUTRAL, 'circle-open'),
}
#: letters of wave vectors at zone boundaries are those of the crystal, which the tree does not know: numbers are shown
_HALF = {0.0: '0', 0.5: '½', 0.25: '¼', 0.75: '¾'}


def qpoint_text(qpoint: Sequence[float]) -> str:
    """``½ ½ 0``; Γ for the centre."""
    if not any(qpoint):
        return 'Γ'
    return ' '.join(_HALF.get(round(x, 6), f'{x:.3f}'.rstrip('0')) for x in qpoint)


def places(nodes: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """Where each crystal stands from left to right: leaves one beside the other, parents above the middle of theirs."""
    children: dict[int | None, list[Mapping[str, Any]]] = {}
    for node in nodes:
        children.setdefault(node['parent'], []).append(node)
    found: dict[int, float] = {}
    n_leaves = 0

    def place(node: Mapping[str, Any]) -> float:
        nonlocal n_leaves
        below = sorted(children.get(node['identifier'], []), key=lambda n: n['identifier'])
        if below:
            ends = [place(child) for child in below]
            found[node['identifier']] = (ends[0] + ends[-1]) / 2
        else:
            found[node['identifier']] = float(n_leaves)
            n_leaves += 1
        return found[node['identifier']]

    for root in children.get(None, []):
        place(root)
    return found


def tree_figure(nodes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Data and layout for plotly.

    :param nodes: as :meth:`TreeNode.to_dict` makes them.
    """
    at = places(nodes)
    by_number = {node['identifier']: node for node in nodes}
    parents = {0, *(node['parent'] for node in nodes)}
    data: list[dict[str, Any]] = []
    lines: dict[str, list[float | None]] = {'x': [], 'y': []}
    middles: dict[str, list[Any]] = {'x': [], 'y': [], 'text': []}
    for node in nodes:
        if node['parent'] is None:
            continue
        parent, via = by_number[node['parent']], node['via']
        x, y = zip(*[(at[n['identifier']], n['energy']) for n in (parent, node)], strict=True)
        lines['x'] += [*x, None]
        lines['y'] += [*y, None]
        middles['x'].append((x[0] + 2 * x[1]) / 3)
        middles['y'].append((y[0] + 2 * y[1]) / 3)
        mode = f'{qpoint_text(via["qpoint"])} {via["direction"]}, {via["frequency"]:.2f} THz'.replace('-', '−')
        middles['text'].append(f'{parent["identifier"]} → {node["identifier"]}: {mode}, {via["amplitude"]:.2f} Å')
    data.append(
        {
            'type': 'scatter',
            'mode': 'lines',
            **lines,
            'line': {'color': NEUTRAL, 'width': 1},
            'hoverinfo': 'skip',
            'showlegend': False,
        }
    )
    known: dict[str, list[float | None]] = {'x': [], 'y': []}
    for node in nodes:
        for k in sorted({entry['crystal'] for entry in node['dropped'] if entry.get('crystal') is not None}):
            known['x'] += [at[node['identifier']], at[k], None]
            known['y'] += [node['energy'], by_number[k]['energy'], None]
    if known['x']:
        data.append(
            {
                'type': 'scatter',
                'mode': 'lines',
                'name': 'to a known crystal',
                **known,
                'line': {'color': NEUTRAL, 'width': 1, 'dash': 'dot'},
                'opacity': 0.6,
                'hoverinfo': 'skip',
            }
        )
    # what a line stands for is told by a dot on it; written out, the lines would not be seen
    data.append(
        {
            'type': 'scatter',
            'mode': 'markers',
            **middles,
            'marker': {'color': NEUTRAL, 'size': 5},
            'hovertemplate': '%{text}<extra></extra>',
            'showlegend': False,
        }
    )
    for verdict, (colour, symbol) in VERDICTS.items():
        chosen = [node for node in nodes if node['verdict'] == verdict]
        if chosen:
            data.append(
                {
                    'type': 'scatter',
                    'mode': 'markers+text',
                    'name': verdict,
                    'x': [at[n['identifier']] for n in chosen],
                    'y': [n['energy'] for n in chosen],
                    'text': [f'{n["identifier"]} {n["spacegroup"].split(" ")[0]}' for n in chosen],
                    'textposition': ['top center' if n['identifier'] in parents else 'bottom center' for n in chosen],
                    'textfont': {'size': 11},
                    'hovertemplate': '%{text}<br>%{y:.3f} meV/atom<extra>' + verdict + '</extra>',
                    'marker': {'color': colour, 'symbol': symbol, 'size': 12, 'line': {'width': 2}},
                    'cliponaxis': False,
                }
            )
    width = max(at.values(), default=0.0)
    layout = {
        'xaxis': {'visible': False, 'range': [-0.6, width + 0.8]},
        'yaxis': {'title': {'text': 'energy relative to the root (meV/atom)'}, 'zeroline': False},
        'margin': {'l': 70, 'r': 20, 't': 30, 'b': 20},
        'legend': {'orientation': 'h', 'y': 1.08},
        'hovermode': 'closest',
    }
    return {'data': data, 'layout': layout}
