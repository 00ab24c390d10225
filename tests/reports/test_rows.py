"""Rows: exactly the promised keys, and JSON that every reader takes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from aiida_mlfc.reports.plain_json import json_text, plain, rounded, write_atomically
from aiida_mlfc.reports.rows import KEYS, describe_supercell, failed_row, rows_to_json, write_rows

PROMISED = (  # noqa: SIM905  (a list literal would be twenty lines)
    'name status error formula spacegroup n_atoms supercell_matrix min_frequency max_frequency verdicts noise_floor '
    'free_energy_300K zero_point_energy max_residual_force acoustic_sum_residual truncation_error uncertainty seconds '
    'with_nac warnings potential potential_sha256 structure_uuid force_constants_uuid'
).split()


def refuse_constants(name):
    raise AssertionError(f'{name} is not JSON')


def test_keys():
    assert list(KEYS) == PROMISED
    assert list(failed_row('a', 'broken')) == PROMISED


def test_finished_row_agrees_with_the_record(bcc_copper):
    row = bcc_copper.row('bcc', structure_uuid='s')
    assert list(row) == PROMISED
    assert row['status'] == 'ok'
    assert row['error'] is None
    assert row['min_frequency'] == bcc_copper.phonons.stability.min_frequency < -1.0
    assert row['verdicts']['zero'] == 'unstable'
    assert row['free_energy_300K'] == pytest.approx(bcc_copper.phonons.thermal.at(300.0)['free_energy'])
    assert row['warnings'] == ['imaginary modes are left out of thermal properties']
    assert row['supercell_matrix'] == [[3, 0, 0], [0, 3, 0], [0, 0, 3]]


def test_json_round_trip_without_nan(aluminium):
    stability = replace(aluminium.phonons.stability, min_frequency=float('nan'), max_frequency=np.float32(np.inf))
    broken = replace(aluminium, phonons=replace(aluminium.phonons, stability=stability))
    rows = [broken.row('nan'), failed_row('bad \udcff name', 'ungültig')]
    read = json.loads(rows_to_json(rows), parse_constant=refuse_constants)
    assert read[0]['min_frequency'] is None
    assert read[0]['max_frequency'] is None
    assert read[1]['name'] == 'bad \udcff name'
    assert [list(row) for row in read] == [PROMISED, PROMISED]


def test_a_failed_row_must_say_why():
    with pytest.raises(ValueError, match='empty'):
        failed_row('a', '  ')
    with pytest.raises(ValueError, match='fromula'):
        failed_row('a', 'broken', fromula='Si')
    assert failed_row('a', 'broken', n_atoms=np.int64(3))['n_atoms'] == 3


def test_failed_rows_share_nothing():
    first, second = failed_row('a', 'x'), failed_row('b', 'x')
    first['warnings'].append('only here')
    assert second['warnings'] == []


def test_plain_values():
    mixed = {'a': np.arange(2), 'b': (np.nan, np.bool_(True)), 3: None}
    assert plain(mixed) == {'a': [0, 1], 'b': [None, True], '3': None}
    assert rounded(np.array([1.23456, np.nan, -1e-9]), 2) == [1.23, None, 0.0]
    assert json_text(float('inf')) == 'null'


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = write_rows(tmp_path / 'deep' / 'screen.json', [failed_row('a', 'x')])
    before = path.read_text()

    def pieces():
        yield '[{'
        raise RuntimeError('the disk is on fire')

    with pytest.raises(RuntimeError):
        write_atomically(path, pieces())
    assert path.read_text() == before
    assert [p.name for p in path.parent.iterdir()] == ['screen.json']


def test_supercells_in_words():
    assert describe_supercell([[2, 0, 0], [0, 3, 0], [0, 0, 1]]) == '2×3×1'
    assert describe_supercell([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]) == '-1 1 1 / 1 -1 1 / 1 1 -1'
    assert describe_supercell(None) == ''
