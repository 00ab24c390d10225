"""Table and page of comparisons: numbers as they are, nothing hostile run, figures drawn in a browser."""

import io
import json
import re

import pytest
from ase.build import bulk

from aiida_mlfc.core.comparison.aggregate import aggregate
from aiida_mlfc.core.comparison.compare import compare
from aiida_mlfc.core.comparison.record import refused_row
from aiida_mlfc.reports.comparison_figures import comparison_parcel, density_of_states
from aiida_mlfc.reports.comparison_page import write_comparison_page
from aiida_mlfc.reports.comparison_table import print_comparisons, print_scoreboard
from tests.core.comparison.crystals import force_constants_of
from tests.reports.conftest import HOSTILE_ERROR, HOSTILE_NAME
from tests.reports.test_page_in_browser import all_of, driver, texts, wait_for  # noqa: F401 (a fixture)


@pytest.fixture(scope='module')
def compared():
    atoms = bulk('NaCl', 'rocksalt', a=5.64)
    small, large = (force_constants_of(atoms, (2, 2, 2), stretch=s) for s in (1.02, 1.3))
    reference = force_constants_of(atoms, (2, 2, 2))
    pairs = (('near', small), (HOSTILE_NAME, large))
    return [compare(reference, b, name, mesh_length=10.0, points_per_segment=5) for name, b in pairs]


@pytest.fixture
def rows(compared):
    good = [{**c.summary.row(), 'a': 'set', 'b': 'dx'} for c in compared]
    return [*good, {**refused_row('broken', HOSTILE_ERROR), 'a': 'set', 'b': 'dx'}]


@pytest.fixture
def page(compared, rows, tmp_path):
    summaries = [c.summary for c in compared]
    parcels = [*map(comparison_parcel, compared), None]
    scores = [aggregate('dx', summaries, 1, 2.0)]
    return write_comparison_page(tmp_path / 'page.html', rows, [*summaries, None], parcels, scores)


def test_table_has_every_number_and_the_worst_first(rows):
    out = io.StringIO()
    print_comparisons(rows, out)
    text = out.getvalue()
    assert f'{rows[1]["frequency_mae"]:.4f}' in text
    assert text.index('<img') < text.index('near')
    assert '\x1b' not in text
    assert '✗ broken' in text


def test_scoreboard_has_means(compared):
    out = io.StringIO()
    score = aggregate('dx', [c.summary for c in compared], 1, 2.0)
    print_scoreboard([score], out)
    assert f'{score.errors["max_frequency_K"].mean:.1f}' in out.getvalue()


def test_page_holds_all_pairs_worst_first(page, rows):
    found = re.search(r'id="overview">(.*?)</script>', page.read_text(), re.DOTALL)
    content = json.loads(found[1])
    assert [row['name'] for row in content['rows']] == [HOSTILE_NAME, 'near', 'broken']
    assert content['rows'][1]['frequency_mae'] == rows[0]['frequency_mae']
    assert content['scores'][0]['n_failed'] == 1


def test_densities_of_states_hold_all_modes(compared):
    mesh = compared[0].sampling.mesh
    points, densities = density_of_states(mesh)
    for density in densities:
        assert density.sum() * (points[1] - points[0]) == pytest.approx(mesh.a.shape[1], rel=1e-3)


@pytest.mark.browser
def test_page_in_a_browser(page, driver):  # noqa: F811
    driver.get(page.as_uri())
    wait_for(driver, '.plot .main-svg', 5)
    assert texts(driver, '#screen tbody td.name')[0] == HOSTILE_NAME
    assert 'refused' in texts(driver, '#screen tbody tr')[2]
    assert texts(driver, '#scoreboard tbody td')[0] == 'dx'
    assert [entry for entry in driver.get_log('browser') if entry['level'] == 'SEVERE'] == []
