"""Rows of a training in a file, and for TensorBoard where it is installed."""

import json
import sys
from types import ModuleType

import pytest

from aiida_mlfc.runner import training_log
from aiida_mlfc.runner.training_log import TrainingLog

LOSS = {'step': 50, 'seconds': 10.0, 'stage': 2, 'displaced': 0.5, 'at_rest': 0.1, 'stress': 0.2, 'learning_rate': 1e-3}
VALIDATION = {'step': 50, 'seconds': 11.0, 'stage': 2, 'valid_frequency_mae': 0.123, 'valid_frequency_max': 0.9,
              'valid_relative_frobenius': 0.05}  # fmt: skip


class Writer:
    """What is called of ``SummaryWriter``."""

    made: list

    def __init__(self, folder, purge_step):
        self.folder, self.purge_step, self.scalars = folder, purge_step, {}
        Writer.made.append(self)

    def add_scalar(self, name, value, step):
        self.scalars[name] = (value, step)

    def flush(self):
        self.flushed = True


@pytest.fixture
def installed(monkeypatch):
    Writer.made = []
    module = ModuleType('torch.utils.tensorboard')
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', module)
    monkeypatch.setattr(training_log, 'find_spec', lambda name: name == 'tensorboard')


def test_lines_and_what_is_said(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(training_log, 'find_spec', lambda name: None)
    log = TrainingLog(tmp_path, 0)
    for row in (LOSS, VALIDATION):
        log.write(row, 100)
    assert [json.loads(line) for line in log.path.read_text().splitlines()] == [LOSS, VALIDATION]
    first, second = capsys.readouterr().err.splitlines()
    assert first == 'step 50/100  10 s, 10 s to go  displaced 0.5000  at rest 0.1000  stress 0.2000  stage two'
    assert second == 'step 50/100  11 s  validation 0.123 THz, at most 0.90, force constants 5.0 %'
    assert not (tmp_path / training_log.TENSORBOARD).exists()


def test_rows_of_steps_that_are_done_again_go(tmp_path):
    log = TrainingLog(tmp_path, 0)
    for step in (50, 100, 150):
        log.write({**LOSS, 'step': step}, 200)
    with log.path.open('a') as handle:
        handle.write('{"step": 2')
    TrainingLog(tmp_path, 100)
    assert [json.loads(line)['step'] for line in log.path.read_text().splitlines()] == [50, 100]


def test_tensorboard(installed, tmp_path):
    """Every number by name and step; what a killed run wrote of later steps is purged."""
    log = TrainingLog(tmp_path, 40)
    for row in (LOSS, VALIDATION):
        log.write(row, 100)
    (writer,) = Writer.made
    assert writer.folder == str(tmp_path / training_log.TENSORBOARD)
    assert writer.purge_step == 41
    assert writer.scalars['displaced'] == (0.5, 50)
    assert writer.scalars['valid/frequency_mae'] == (0.123, 50)
    assert 'step' not in writer.scalars
    assert writer.flushed
