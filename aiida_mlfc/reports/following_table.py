"""The tree of mode following in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from aiida_mlfc.reports.following_figure import qpoint_text

_STYLES = {'stable': 'green', 'unstable': 'red', 'failed': 'red', 'budget': 'yellow', 'elsewhere': 'yellow'}


def node_line(node: Mapping[str, Any]) -> Text:
    """One crystal: how it was reached, what it is, how it ended."""
    line = Text()
    if via := node['via']:
        line.append(
            f'{qpoint_text(via["qpoint"])} {via["direction"]} {via["frequency"]:.3f} THz, {via["amplitude"]:.3f} Å → '
        )
    line.append(f'{node["identifier"]} {node["formula"]} {node["spacegroup"]}', style='bold')
    line.append(f', {node["n_atoms"]} atoms, {node["energy"]:.3f} meV/atom')
    if node['lowest_frequency'] is not None:
        line.append(f', lowest {node["lowest_frequency"]:.3f} THz')
    if node['confirmed_frequency'] is not None:
        line.append(f' ({node["confirmed_frequency"]:.3f} on a denser mesh)')
    line.append(f', {node["verdict"]}', style=_STYLES.get(node['verdict'], ''))
    if node['reason']:
        line.append(f': {node["reason"]}')
    return line


def print_tree(tree: Mapping[str, Any], console: Console | None = None) -> None:
    """Every crystal under its parent, then what became of the other distortions, then the outcome.

    :param tree: ``nodes`` and ``outcome``.
    """
    console = console or Console()
    branches: dict[int, Tree] = {}
    for node in tree['nodes']:
        if node['parent'] is None:
            branches[node['identifier']] = Tree(node_line(node))
        else:
            branches[node['identifier']] = branches[node['parent']].add(node_line(node))
    for node in tree['nodes']:
        for one in node['dropped']:
            what = f'{qpoint_text(one["qpoint"])} {one["direction"]} {one["frequency"]:.3f} THz: {one["reason"]}'
            branches[node['identifier']].add(Text(what, style='dim'))
    console.print(branches[0])
    found = tree['outcome']
    lowest = next(node for node in tree['nodes'] if node['identifier'] == found['lowest'])
    said = {'stable': 'is stable', 'budget': 'is not known to be stable', 'failed': 'could not be judged'}
    console.print(
        Text(
            f'{len(tree["nodes"])} crystals; the lowest, {lowest["identifier"]} {lowest["spacegroup"]}, '
            f'{said[found["state"]]}.'
        )
    )
