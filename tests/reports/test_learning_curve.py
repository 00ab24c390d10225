"""The learning curve shows what the log holds."""

import json

import pytest

from aiida_mlfc.reports.learning_curve import learning_curve, read_log, save_learning_curve

ROWS = [
    {'step': 50, 'seconds': 1.0, 'stage': 1, 'displaced': 0.5, 'at_rest': 0.1, 'stress': 0.0, 'learning_rate': 1e-3},
    {'step': 50, 'seconds': 1.2, 'stage': 1, 'valid_frequency_mae': 0.4, 'valid_frequency_max': 1.0},
    {'step': 100, 'seconds': 2.0, 'stage': 2, 'displaced': 0.2, 'at_rest': 0.05, 'stress': 0.01, 'learning_rate': 1e-3},
    {'step': 100, 'seconds': 2.2, 'stage': 2, 'valid_frequency_mae': 0.2, 'valid_frequency_max': 0.7},
]


def lines(axes):
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}


def test_losses_and_validation(tmp_path):
    log = tmp_path / 'log.jsonl'
    log.write_text(''.join(json.dumps(row) + '\n' for row in ROWS))
    figure = learning_curve(read_log(log), 'a $ sign')
    loss, validation = figure.axes
    found = lines(loss)
    assert found['forces or Hessian products'] == ([50, 100], [0.5, 0.2])
    # a term that is zero has no place on a logarithmic axis
    assert found['stress at rest'] == ([100], [0.01])
    assert lines(validation)['mean'] == ([50, 100], [0.4, 0.2])
    assert 'THz' in validation.get_ylabel()
    assert [text.get_text() for text in loss.texts] == [' stage two']
    picture = save_learning_curve(tmp_path / 'new' / 'curve.png', ROWS)
    assert picture.read_bytes().startswith(b'\x89PNG')


def test_without_validation_there_is_one_panel():
    assert len(learning_curve(ROWS[:1]).axes) == 1


def test_something_else_than_a_log(tmp_path):
    (tmp_path / 'log').write_text('{"a": 1}\n')
    with pytest.raises(ValueError, match='wanted rows with a step'):
        read_log(tmp_path / 'log')
