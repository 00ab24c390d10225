"""What a training says while it runs: JSON lines always, TensorBoard's files where that package is installed."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from aiida_mlfc.core.potentials.training.terms import TERMS
from aiida_mlfc.exchange.names import TRAINING_LOG

#: folder for ``tensorboard --logdir``
TENSORBOARD = 'tensorboard'


class TrainingLog:
    """One row every so many steps in ``log.jsonl``, on stderr, and for TensorBoard.

    :param folder: of the training.
    :param step: rows of later steps are dropped: these steps will be done again.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.path = folder / TRAINING_LOG
        self.writer: Any = None
        forget_after(self.path, step)
        if find_spec('tensorboard') is not None:
            from torch.utils.tensorboard import SummaryWriter

            # what was written of the same steps before is hidden from here on
            self.writer = SummaryWriter(str(folder / TENSORBOARD), purge_step=step + 1)

    def write(self, row: dict[str, float], last_step: int) -> None:
        """Add a row of :meth:`Trainer.run`.

        :param last_step: when the training ends, for the time that is left.
        """
        with self.path.open('a') as handle:
            handle.write(json.dumps(row) + '\n')
        print(self._line(row, last_step), file=sys.stderr, flush=True)
        if self.writer is not None:
            for name, value in row.items():
                if name != 'step':
                    self.writer.add_scalar(name.replace('valid_', 'valid/'), value, int(row['step']))
            self.writer.flush()

    @staticmethod
    def _line(row: dict[str, float], last_step: int) -> str:
        start = f'step {row["step"]:.0f}/{last_step}  {row["seconds"]:.0f} s'
        if 'valid_frequency_mae' in row:
            said = 'validation {valid_frequency_mae:.3f} THz, at most {valid_frequency_max:.2f}'
            return (
                f'{start}  ' + said.format(**row) + f', force constants {100 * row["valid_relative_frobenius"]:.1f} %'
            )
        left = row['seconds'] / row['step'] * (last_step - row['step'])
        terms = '  '.join(f'{name.replace("_", " ")} {row[name]:.4f}' for name in TERMS if name in row)
        return f'{start}, {left:.0f} s to go  {terms}' + ('  stage two' if row['stage'] == 2 else '')


def forget_after(log: Path, step: int) -> None:
    """Drop the rows of steps that will be done again."""
    if not log.exists():
        return
    kept = []
    for line in log.read_text().splitlines():
        try:
            if json.loads(line)['step'] <= step:
                kept.append(line)
        except ValueError:
            continue
    log.write_text(''.join(f'{line}\n' for line in kept))
