"""The tree of mode following in terminal, figure and page."""

import io
import json
import re

import pytest
from rich.console import Console

from aiida_mlfc.core.phonons.following.tree import TreeNode, outcome
from aiida_mlfc.reports.following_figure import places, qpoint_text, tree_figure
from aiida_mlfc.reports.following_page import write_following_page
from aiida_mlfc.reports.following_table import print_tree

from .test_page_in_browser import all_of, driver, texts  # noqa: F401 (a fixture)

HOSTILE = '<script>alert(1)</script>'


def via(q, direction, frequency):
    return {
        'key': 'm0d0',
        'qpoint': q,
        'frequency': frequency,
        'degeneracy': 3,
        'direction': direction,
        'amplitude': 0.21,
        'gain': 3.2,
        'is_bounded': True,
        'spacegroup': 'I4/mcm (140)',
        'n_atoms': 10,
    }


@pytest.fixture
def tree():
    dropped = [{**via([0.5, 0.5, 0.0], '[1]', -1.4), 'reason': f'not relaxed: {HOSTILE}', 'crystal': None}]
    known = [{**via([0, 0, 0], '[1]', -1.0), 'reason': 'is crystal 3', 'crystal': 3}]
    nodes = [
        TreeNode(0, None, 0, 'SrTiO3', 'Pm-3m (221)', 5, 0.0, 11.8, None, [], -2.3, None, 'unstable', '', dropped),
        TreeNode(
            1,
            0,
            1,
            'SrTiO3',
            'I4/mcm (140)',
            10,
            -5.5,
            11.9,
            via([0.5] * 3, '[1 0 0]', -2.3),
            [],
            -1.1,
            None,
            'unstable',
            '',
        ),
        TreeNode(
            2,
            0,
            1,
            'SrTiO3',
            'R-3c (167)',
            10,
            -4.5,
            11.9,
            via([0.5] * 3, '[1 1 1]', -2.3),
            [],
            -1.0,
            None,
            'budget',
            'generation 1 is the last one',
            known,
        ),
        TreeNode(
            3,
            1,
            2,
            'SrTiO3',
            'Ima2 (46)',
            10,
            -6.0,
            11.9,
            via([0, 0, 0], '[1 1]', -1.1),
            [],
            0.4,
            0.3,
            'stable',
            'no imaginary mode on mesh and path',
        ),
    ]
    return {'nodes': [node.to_dict() for node in nodes], 'outcome': outcome(nodes)}


def test_terminal(tree):
    out = io.StringIO()
    print_tree(tree, Console(file=out, width=200))
    text = out.getvalue()
    assert '½ ½ ½ [1 0 0] -2.300 THz, 0.210 Å → 1 SrTiO3 I4/mcm (140), 10 atoms, -5.500 meV/atom' in text
    # a child stands deeper than its parent
    depth = {k: next(line.index(k) for line in text.splitlines() if k in line) for k in ('1 SrTiO3', '3 SrTiO3')}
    assert next(line for line in text.splitlines() if 'Ima2' in line).index('Γ') > 4
    assert set(depth) == {'1 SrTiO3', '3 SrTiO3'}
    assert HOSTILE in text
    assert 'the lowest, 3 Ima2 (46), is stable' in text


def test_figure(tree):
    at = places(tree['nodes'])
    # leaves 3 and 2 side by side, each parent in the middle of its own
    assert at == {3: 0.0, 1: 0.0, 2: 1.0, 0: 0.5}
    found = tree_figure(tree['nodes'])
    assert {trace.get('name') for trace in found['data']} == {
        None,
        'unstable',
        'budget',
        'stable',
        'to a known crystal',
    }
    lines, dotted, dots = found['data'][:3]
    assert dotted['y'] == [-4.5, -6.0, None]
    assert dots['text'][2] == '1 → 3: Γ [1 1], −1.10 THz, 0.21 Å'
    assert lines['y'] == [0.0, -5.5, None, 0.0, -4.5, None, -5.5, -6.0, None]
    assert [qpoint_text(q) for q in ([0, 0, 0], [0.5, 0.25, 0], [1 / 3, 0, 0])] == ['Γ', '½ ¼ 0', '0.333 0 0']


def test_page_escapes_what_it_shows(tree, tmp_path):
    path = write_following_page(tmp_path / 'tree.html', tree, title=HOSTILE)
    text = path.read_text()
    assert HOSTILE not in text
    block = re.search(r'id="overview">(.*?)</script>', text, re.DOTALL)[1]
    assert json.loads(block)['nodes'][3]['via']['qpoint'] == 'Γ'


@pytest.mark.browser
def test_page_in_browser(tree, tmp_path, driver):  # noqa: F811
    driver.get(write_following_page(tmp_path / 'tree.html', tree, 'SrTiO3', HOSTILE).as_uri())
    assert texts(driver, '#note') == [HOSTILE]
    assert '4 crystals. The lowest crystal found is stable: crystal 3, Ima2 (46)' in texts(driver, '#summary')[0]
    assert len(all_of(driver, '#crystals tbody tr')) == 4
    assert HOSTILE in texts(driver, '#dropped tbody tr')[0]
    assert len(all_of(driver, '#tree .scatterlayer .trace')) == 6
    assert [entry for entry in driver.get_log('browser') if entry['level'] == 'SEVERE'] == []
