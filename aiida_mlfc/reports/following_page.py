"""One self-contained page of a tree of crystals: figure, table, and what became of every distortion."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from aiida_mlfc.reports.following_figure import qpoint_text, tree_figure
from aiida_mlfc.reports.page import _SLOT, _embedded, _policy, _resource
from aiida_mlfc.reports.plain_json import plain, write_atomically

_SCRIPTS = ('following_page.js',)


def write_following_page(
    path: str | os.PathLike[str], tree: Mapping[str, Any], title: str = 'Imaginary modes followed', note: str = ''
) -> Path:
    """Write the page; the old one stays until the new one is complete.

    :param tree: ``nodes`` and ``outcome``, as ``mlfc.follow`` and :func:`follow_modes` give them.
    :param note: a line under the title.
    """
    from plotly.offline import get_plotlyjs

    overview = {
        'title': title,
        'note': note,
        'outcome': tree['outcome'],
        'nodes': [_node(node) for node in tree['nodes']],
        'figure': tree_figure(tree['nodes']),
    }
    plotly, script = get_plotlyjs(), '(() => {\n' + '\n'.join(_resource(name) for name in _SCRIPTS) + '})();\n'
    parts = {
        'policy': lambda: [_policy([plotly, script])],
        'style': lambda: [_resource('page.css')],
        'overview': lambda: [_embedded('overview', plain(overview))],
        'plotly': lambda: [plotly],
        'script': lambda: [script],
    }

    def pieces() -> Iterator[str]:
        # Template text and slot names alternate, for the expression has one group.
        for k, part in enumerate(_SLOT.split(_resource('following_template.html'))):
            if k % 2:
                yield from parts[part]()
            else:
                yield part

    return write_atomically(path, pieces())


def _node(node: Mapping[str, Any]) -> dict[str, Any]:
    """A node with wave vectors as people write them."""
    found = dict(node)
    if found.get('via'):
        found['via'] = {**found['via'], 'qpoint': qpoint_text(found['via']['qpoint'])}
    for name in ('modes', 'dropped'):
        found[name] = [{**entry, 'qpoint': qpoint_text(entry['qpoint'])} for entry in found.get(name, [])]
    return found
