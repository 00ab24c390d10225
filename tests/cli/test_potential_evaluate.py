"""``aiida-mlfc potential evaluate``: the numbers of cards come out again, bad references are rows of their own."""

import json
from pathlib import Path

import numpy as np
import pytest

from aiida_mlfc.cli.evaluating import ROW_KEYS
from aiida_mlfc.core.checkpoint_files import read_header, resolve
from aiida_mlfc.core.comparison.card_metrics import NONE_HELD_BACK

from ..spring_sets import not_a_number, other_functional, other_order, swapped, write_springs

DFT_REFERENCES = Path(__file__).resolve().parents[3] / 'shared' / 'data' / 'dft_references'
needs_real_data = pytest.mark.skipif(not DFT_REFERENCES.is_dir(), reason=f'no DFT force sets at {DFT_REFERENCES}')
#: of the card, of a row, and the factor between them
SAME = (
    ('relative_frobenius_percent', 'relative_frobenius', 100),
    ('frequency_mae_THz', 'frequency_mae', 1),
    ('frequency_max_error_THz', 'frequency_max_error', 1),
    ('frequency_predict_zero_THz', 'frequency_predict_zero', 1),
    ('force_rmse_meV_per_A', 'force_rmse', 1),
    ('force_predict_zero_meV_per_A', 'force_predict_zero', 1),
    ('max_stress_GPa', 'max_stress', 1),
    ('lowest_elastic_constant_GPa', 'lowest_elastic_constant', 1),
    ('n_configurations', 'n_configurations', 1),
)


@needs_real_data
@pytest.mark.parametrize(
    ('potential', 'name', 'part', 'errors'),
    [
        ('dx-si', 'Si_PBEsol_fc3', 'held-back', 'errors on configurations never seen'),
        ('dx-demo', 'GaN_222_rd', 'held-back', 'errors on configurations never seen'),
        # three displacements: half of them would determine nothing, and none was held back
        ('dx-wide', 'FeS2_pyrite_Pa-3', 'learned', NONE_HELD_BACK),
    ],
)
def test_numbers_are_those_of_the_card(make_command, potential, name, part, errors):
    done = make_command()('potential', 'evaluate', '--potential', potential, '--reference', DFT_REFERENCES / name,
                          '--json')
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)[0]
    card = next(entry for entry in read_header(resolve(potential)).card[errors] if entry['material'] == name)
    # 'auto' knows from the card that every second configuration was held back, or none
    assert (row['status'], row['part'], row['predict_zero']) == ('ok', part, 1.0)
    for of_card, of_row, factor in SAME:
        if potential == 'dx-si' and of_card == 'lowest_elastic_constant_GPa':
            # a card written before there was one
            assert of_card not in card
            assert row[of_row] > 30
            continue
        assert factor * row[of_row] == pytest.approx(card[of_card], rel=1e-3, abs=1e-6), of_row
    assert abs(row['min_frequency'] - row['min_frequency_reference']) < row['frequency_max_error']
    # GaN interpolated from 2x2x2 cells dips below zero near Γ, in DFT and potential alike
    assert row['stability'].startswith('true')
    assert sum(shell['n_pairs'] for shell in row['shells']) > 0


@pytest.fixture(scope='module')
def references(tmp_path_factory):
    folder = tmp_path_factory.mktemp('sets')
    write_springs(folder / 'good')
    for change in (not_a_number, swapped, other_functional, other_order):
        write_springs(folder / change.__name__, change)
    write_springs(folder / 'truncated')
    file = folder / 'truncated' / 'configs.extxyz.xz'
    file.write_bytes(file.read_bytes()[:-200])
    return folder


def test_bad_references_are_rows(make_command, references, tiny_checkpoint):
    done = make_command()('potential', 'evaluate', '--potential', tiny_checkpoint, '--reference', references, '--json')
    assert done.returncode == 1, done.stderr
    rows = {row['name']: row for row in json.loads(done.stdout)}
    assert all(tuple(row) == ROW_KEYS for row in rows.values())
    wanted = {
        'not_a_number': 'the force on atom 4 of configuration 5 is not a finite number',
        'swapped': 'configuration 5 break the symmetry',
        'other_functional': 'configuration 5, 8 are of another scale',
        'other_order': 'configuration 5 holds',
        'truncated': 'truncated',
    }
    for name, message in wanted.items():
        assert rows[name]['status'] == 'error'
        assert message in rows[name]['error'], rows[name]['error']
    good = rows['good']
    assert (good['status'], good['error'], good['part'], good['n_configurations']) == ('ok', None, 'all', 12)
    # an untrained potential is about as good as none
    assert good['frequency_mae'] > 0.3 * good['frequency_predict_zero'] > 0.1
    assert good['force_predict_zero'] == pytest.approx(1000 * 0.01 * np.sqrt(6 * 6 + 6), rel=0.2)


def test_held_back_and_table(make_command, references, tiny_checkpoint):
    done = make_command()('potential', 'evaluate', '--potential', tiny_checkpoint, '--reference', references / 'good',
                          '--part', 'held-back')
    assert done.returncode == 0, done.stderr
    assert 'good (held back)' in done.stdout
    assert 'THz' in done.stdout


def test_what_is_not_there(make_command, tiny_checkpoint, tmp_path):
    nowhere = make_command()('potential', 'evaluate', '--potential', tiny_checkpoint, '--reference', tmp_path / 'no')
    assert nowhere.returncode == 1
    assert 'there is no file or folder' in nowhere.stderr
    empty = make_command()('potential', 'evaluate', '--potential', tiny_checkpoint, '--reference', tmp_path)
    assert 'there is no reference in' in empty.stderr
    unknown = make_command()('potential', 'evaluate', '--potential', 'no-such', '--reference', tmp_path)
    assert 'wanted a file or a shipped name' in unknown.stderr
