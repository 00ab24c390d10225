"""The page as people see it, in headless Chromium: no error on the console, figures drawn, nothing hostile run."""

from __future__ import annotations

import os
import shutil
import time

import pytest

from aiida_mlfc.reports.page import write_page
from tests.reports.conftest import HOSTILE_ERROR, HOSTILE_NAME

pytestmark = pytest.mark.browser

#: s, for a browser on a busy machine
PATIENCE = 30
#: crystals on the page that must not freeze
MANY = 1500
OPTIONS = (
    '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-dev-shm-usage',
    '--disable-background-networking', '--disable-component-update', '--disable-sync', '--window-size=1280,900',
)
CARDS = [{'name': '<b>EMT</b>', 'elements': ['Al', 'Cu'], 'licence': 'LGPL', 'sha256': 'f' * 64,
          'errors': {'Al': {'force RMSE (eV/Å)': 0.01, 'predict zero': 0.3},
                     'Cu': {'force RMSE (eV/Å)': 0.02, 'predict zero': 0.4}}}]


def absent(reason: str) -> None:
    """Skip on a laptop, fail in CI: a check that is never run there is no check."""
    if os.environ.get('CI'):
        pytest.fail(f'{reason}; CI must have it')
    pytest.skip(reason)


@pytest.fixture(scope='module')
def driver(tmp_path_factory):
    """A browser with an empty profile of its own."""
    try:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
    except ImportError:
        absent('selenium is not installed (pip install selenium)')
    browser = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
    chromedriver = shutil.which('chromedriver')
    if browser is None or chromedriver is None:
        absent('chromium or chromedriver is not installed (apt-get install chromium chromium-driver)')
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for option in (*OPTIONS, f'--user-data-dir={tmp_path_factory.mktemp("profile")}'):
        options.add_argument(option)
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
    options.set_capability('unhandledPromptBehavior', 'ignore')
    found = webdriver.Chrome(options=options, service=Service(chromedriver))
    found.set_script_timeout(PATIENCE)
    yield found
    found.quit()


@pytest.fixture
def opened(driver, screen, tmp_path):
    """The page of the hostile screen; when the test is over, the console must be clean and no alert open."""
    from selenium.webdriver.support import expected_conditions

    rows, phonons = screen
    path = write_page(tmp_path / 'report.html', rows, phonons, CARDS, {'fc-1': {'structure file': '<i>a</i>.cif'}})
    driver.get(path.as_uri())
    yield driver
    assert not expected_conditions.alert_is_present()(driver)
    assert [entry for entry in driver.get_log('browser') if entry['level'] == 'SEVERE'] == []


def all_of(driver, selector):
    from selenium.webdriver.common.by import By

    return driver.find_elements(By.CSS_SELECTOR, selector)


def texts(driver, selector):
    return [element.text for element in all_of(driver, selector)]


def wait_for(driver, selector, number=1):
    """The elements, as soon as there are that many."""
    end = time.monotonic() + PATIENCE
    while len(found := all_of(driver, selector)) < number:
        assert time.monotonic() < end, f'{selector}: {len(found)} of {number} after {PATIENCE} s'
        time.sleep(0.05)
    return found


def test_table_and_hostile_text(opened, screen):
    names = texts(opened, '#screen tbody td.name')
    assert names == [row['name'] for row in screen[0]]
    assert HOSTILE_NAME in names
    assert all_of(opened, 'img') == []
    shown = texts(opened, '#screen td.error')
    assert shown[0].startswith('failed: </script><script>alert(2)</script>')
    assert HOSTILE_ERROR[:20] in shown[0]
    assert '6 crystals' in texts(opened, '#summary')[0]
    assert '2 failed' in texts(opened, '#summary')[0]


def test_sorting_by_mouse_and_keyboard(opened, screen):
    from selenium.webdriver.common.keys import Keys

    column = next(k for k, text in enumerate(texts(opened, '#screen thead button')) if text.startswith('Lowest'))
    rising = sorted(row['min_frequency'] for row in screen[0] if row['status'] == 'ok')

    def lowest():
        cells = [line for line in all_of(opened, '#screen tbody tr') if not all_of(line, 'td.error')]
        assert len(all_of(opened, '#screen tbody tr')) == len(screen[0])
        return [float(all_of(line, 'td')[column].text.replace('−', '-')) for line in cells]

    all_of(opened, '#screen thead button')[column].click()
    assert lowest() == pytest.approx(rising, abs=1e-3)
    assert all_of(opened, '#screen thead th')[column].get_attribute('aria-sort') == 'ascending'
    all_of(opened, '#screen thead button')[column].send_keys(Keys.ENTER)
    assert lowest() == pytest.approx(rising[::-1], abs=1e-3)
    # Crystals without a number stay at the end, whichever the direction.
    assert texts(opened, '#screen tbody td.name')[-2:] == ['broken.cif', 'broken.cif']


def test_filter(opened):
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select

    box, = all_of(opened, '#filter')
    box.send_keys('ALERT(1)')
    assert texts(opened, '#screen tbody td.name') == [HOSTILE_NAME]
    box.send_keys(Keys.CONTROL + 'a')
    box.send_keys('twin')
    assert len(texts(opened, '#screen tbody td.name')) == 2
    assert texts(opened, '#count') == ['2 of 6 crystals']
    box.send_keys(Keys.CONTROL + 'a')
    box.send_keys(Keys.DELETE)
    Select(all_of(opened, '#kind')[0]).select_by_value('failed')
    assert texts(opened, '#screen tbody td.name') == ['broken.cif', 'broken.cif']


def test_first_crystal_is_open_and_others_open_and_close(opened):
    wait_for(opened, '#panel-0 svg.main-svg', 3)
    assert 'structure file\n<i>a</i>.cif' in texts(opened, '#panel-0')[0]
    for place in (2, 3):  # the second twin, the hostile one
        assert all_of(opened, f'#panel-{place}') == []
        all_of(opened, '#screen td.name button')[place].click()
        wait_for(opened, f'#panel-{place} .js-plotly-plot', 3)
        wait_for(opened, f'#panel-{place} .scatterlayer path.js-line', 4)
    assert texts(opened, '#panel-3 h3') == [HOSTILE_NAME]
    assert 'imaginary modes' in texts(opened, '#panel-2 .legendtext')
    assert 'imaginary modes' not in texts(opened, '#panel-3 .legendtext')
    labels = texts(opened, '#panel-3 .xtick')
    assert labels[:4] == ['Γ', 'X', 'U|K', 'Γ']
    all_of(opened, '#panel-3 header button')[0].click()
    assert all_of(opened, '#panel-3') == []
    assert all_of(opened, '#screen td.name button')[3].get_attribute('aria-expanded') == 'false'


def test_a_failed_crystal_shows_its_error(opened):
    all_of(opened, '#screen td.name button')[5].click()
    assert 'element U is not known' in texts(opened, '#panel-5 .error')[0]
    assert all_of(opened, '#panel-5 svg') == []


def test_model_card(opened):
    text = texts(opened, '#potentials')[0]
    for wanted in ('<b>EMT</b>', 'Al, Cu', 'LGPL', 'f' * 64, 'predict zero', '0.02'):
        assert wanted in text


def test_fits_a_narrow_window(opened):
    opened.set_window_size(700, 900)
    try:
        fits = 'return document.documentElement.scrollWidth <= window.innerWidth'
        end = time.monotonic() + PATIENCE
        while not opened.execute_script(fits):  # figures follow the window a moment later
            assert time.monotonic() < end, texts(opened, 'body')
            time.sleep(0.05)
    finally:
        opened.set_window_size(1280, 900)


def test_thousands_of_crystals_do_not_freeze(driver, aluminium, tmp_path):
    rows = [aluminium.row(f'Al {k}', force_constants_uuid='fc') for k in range(MANY)]
    path = write_page(tmp_path / 'many.html', rows, {'fc': aluminium.phonons}, [], {})
    driver.get(path.as_uri())
    assert len(wait_for(driver, '#screen tbody tr')) < MANY
    assert len(wait_for(driver, '.js-plotly-plot', 3)) == 3  # of one crystal, not of all
    # A sort is a few milliseconds here; a second is where it would feel frozen.
    took = driver.execute_script(
        "const t = performance.now(); document.querySelectorAll('#screen thead button')[5].click();"
        'return performance.now() - t')
    assert took < 1000
    all_of(driver, '#more')[0].click()
    assert len(all_of(driver, '#screen tbody tr')) == 400
    assert [entry for entry in driver.get_log('browser') if entry['level'] == 'SEVERE'] == []
