"""A result is there entirely or not at all."""

import json

import numpy as np
import pytest

from aiida_mlfc.exchange.results import ResultError, is_done, plain, read_result, write_result, write_summary

CONTENT = {'status': 'ok', 'fingerprint': 'f', 'data': {'x': np.float64(1), 'm': np.eye(2)}}


def write_something(folder):
    (folder / 'arrays.hdf5').write_bytes(b'first')


def test_round_trip(tmp_path):
    write_result(tmp_path, 'a', CONTENT, write_something)
    assert read_result(tmp_path, 'a') == {
        'schema_version': 1,
        'key': 'a',
        'status': 'ok',
        'fingerprint': 'f',
        'data': {'x': 1.0, 'm': [[1, 0], [0, 1]]},
    }
    assert {p.name for p in (tmp_path / 'results').iterdir()} == {'a'}
    assert {p.name for p in (tmp_path / 'results' / 'a').iterdir()} == {'arrays.hdf5', 'result.json'}


def test_failing_writer_leaves_nothing_and_keeps_what_was_there(tmp_path):
    def fails(folder):
        write_something(folder)
        raise OSError('disk full')

    with pytest.raises(OSError, match='disk full'):
        write_result(tmp_path, 'a', CONTENT, fails)
    with pytest.raises(ResultError, match='no result for a'):
        read_result(tmp_path, 'a')
    write_result(tmp_path, 'a', CONTENT, write_something)
    with pytest.raises(OSError, match='disk full'):
        write_result(tmp_path, 'a', CONTENT | {'fingerprint': 'g'}, fails)
    assert is_done(tmp_path, 'a', 'f')
    write_result(tmp_path, 'a', CONTENT | {'fingerprint': 'g'})
    assert is_done(tmp_path, 'a', 'g')
    assert not (tmp_path / 'results' / 'a' / 'arrays.hdf5').exists()


@pytest.mark.parametrize(
    'text', ['', '{"key": "a"', '[]', '{}', '{"key": "b", "status": "ok"}', '{"key": "a"}', '\x00']
)
def test_broken_results(tmp_path, text):
    (tmp_path / 'results' / 'a').mkdir(parents=True)
    (tmp_path / 'results' / 'a' / 'result.json').write_text(text)
    with pytest.raises(ResultError, match='the result of a'):
        read_result(tmp_path, 'a')
    assert not is_done(tmp_path, 'a', 'f')


def test_result_that_is_a_folder_or_not_utf8(tmp_path):
    target = tmp_path / 'results' / 'a' / 'result.json'
    target.mkdir(parents=True)
    with pytest.raises(ResultError, match='cannot be read'):
        read_result(tmp_path, 'a')
    target.rmdir()
    target.write_bytes(b'\xff\xfe')
    with pytest.raises(ResultError, match='cannot be read'):
        read_result(tmp_path, 'a')


def test_other_fingerprint_is_not_done(tmp_path):
    write_result(tmp_path, 'a', CONTENT)
    assert is_done(tmp_path, 'a', 'f')
    assert not is_done(tmp_path, 'a', 'g')
    assert not is_done(tmp_path, 'b', 'f')


def test_plain_has_no_nan():
    values = plain({'a': np.array([1.0, np.nan]), 'b': (np.inf, 2), 3: np.bool_(True), 'c': None})
    assert values == {'a': [1.0, None], 'b': [None, 2], '3': True, 'c': None}


def test_summary(tmp_path):
    write_summary(tmp_path, {'failed': []})
    assert json.loads((tmp_path / 'results.json').read_text()) == {'schema_version': 1, 'failed': []}
    assert [p.name for p in tmp_path.iterdir()] == ['results.json']
