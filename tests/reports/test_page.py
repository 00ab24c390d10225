"""The page as a file: self-contained, nothing hostile in its source, every crystal with its own phonons."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest

from aiida_mlfc.reports.page import embedded_rows, write_page
from aiida_mlfc.reports.page_data import entry_of, shared_arrays
from aiida_mlfc.reports.rows import failed_row


def blocks(page: str) -> dict[str, dict]:
    """The data blocks of a page by their id."""
    found = re.findall(r'<script type="application/json" id="([\w-]+)">(.*?)</script>', page, re.DOTALL)
    return {identifier: json.loads(text) for identifier, text in found}


@pytest.fixture
def page(screen, tmp_path) -> str:
    rows, phonons = screen
    cards = [{'name': 'EMT', 'note': '</script><b>x</b>'}]
    provenance = {'fc-1': {'file': '<!--<script>'}, 'broken.cif': {'file': 'broken.cif'}}
    return write_page(tmp_path / 'report.html', rows, phonons, cards, provenance).read_text(encoding='utf-8')


def test_nothing_is_loaded_from_elsewhere(page):
    markup = re.sub(r'<script[ >].*?</script>', '', page, flags=re.DOTALL)
    assert not re.search(r'(src|href)\s*=\s*"(?!data:)', markup)
    assert '@import' not in markup
    assert 'url(' not in markup
    assert "default-src 'none'" in markup
    assert 'unsafe-inline' not in re.search(r'script-src([^;]*);', markup)[1]


def test_hostile_text_stays_inside_its_block(page, screen):
    rows, _ = screen
    assert '<img' not in page
    assert '<!--<script' not in page
    assert '<b>x' not in page
    assert len(re.findall('<script', page.split('plotly.js v')[0])) == 1 + len(rows) + 1
    assert [row['name'] for row in embedded_rows(page)] == [row['name'] for row in rows]
    assert embedded_rows(page)[4]['error'] == rows[4]['error']


def test_plotly_is_there_once(page):
    assert page.count('plotly.js v') == 1
    assert not re.search(r'<!--\[\w+\]-->', page)


def test_each_crystal_has_its_own_phonons(page, screen):
    _, phonons = screen
    data = blocks(page)
    for place, key in enumerate(('fc-1', 'fc-2', 'fc-3', 'fc-4')):
        assert data[f'crystal-{place}']['facts']['mesh'] == '×'.join(map(str, phonons[key].dos.mesh))
    assert data['crystal-4']['figures'] == {} == data['crystal-5']['figures']
    assert data['crystal-0']['provenance'] == {'file': '<!--<script>'}
    assert data['crystal-4']['provenance'] == {'file': 'broken.cif'}


def test_names_alone_must_tell_crystals_apart(aluminium, tmp_path):
    rows = [aluminium.row('twin'), aluminium.row('twin')]
    with pytest.raises(ValueError, match='structure_uuid'):
        write_page(tmp_path / 'report.html', rows, {'twin': aluminium.phonons}, [], {})
    assert list(tmp_path.iterdir()) == []


def test_entries_by_uuid_come_before_names():
    row = failed_row('a', 'x', structure_uuid='s', force_constants_uuid='f')
    assert entry_of(row, {'a': 1, 's': 2, 'f': 3}, Counter()) == 3
    assert entry_of(row, {'a': 1, 's': 2}, Counter()) == 2
    assert entry_of(row, {'a': 1}, Counter()) == 1
    assert entry_of(row, {}, Counter()) is None


def test_long_lists_are_shared():
    axis, values = list(range(20)), [0.5] * 20
    two = {'x': list(axis), 'data': [{'y': values}]}
    found = shared_arrays({'one': {'x': axis, 'y': values, 'ticks': [1, 2]}, 'two': two})
    assert found['arrays'] == [axis, values]
    assert found['figures'] == {'one': {'x': {'array': 0}, 'y': {'array': 1}, 'ticks': [1, 2]},
                                'two': {'x': {'array': 0}, 'data': [{'y': {'array': 1}}]}}


def test_a_page_of_nothing(tmp_path):
    page = write_page(tmp_path / 'report.html', [], {}, [], {}).read_text(encoding='utf-8')
    assert embedded_rows(page) == []
    with pytest.raises(ValueError, match='wanted a report'):
        embedded_rows('<html></html>')
