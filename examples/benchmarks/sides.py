"""The two sides as processes: ours in this environment, the official MatterSim package in this one or another.

The official package is looked for here, or in the Python that ``MLFC_BENCH_PEER_PYTHON`` names: an environment with
``pip install mattersim==1.2.3``, ASE and phonopy as here. Both run with one thread.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from crystals import Crystal
from side_loop import REPLY

HERE = Path(__file__).parent
GOLDEN = HERE.parents[1] / 'tests/core/potentials/mattersim/golden'
SHARED = HERE.parents[2] / 'shared/data/mattersim_golden'
TOY, TINY = 'toy-si-1M.pth', 'tiny-random.pth'
PEER, PEER_PYTHON = 'mattersim', 'MLFC_BENCH_PEER_PYTHON'
ONE_THREAD = dict.fromkeys(
    ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'RAYON_NUM_THREADS', 'NUMEXPR_NUM_THREADS'), '1'
)


def checkpoint(name: str) -> Path:
    """Toy weights in the official format, from beside the checkout or from the tests.

    :raises FileNotFoundError: where there are none.
    """
    for folder in (SHARED, GOLDEN):
        if (folder / name).exists():
            return folder / name
    raise FileNotFoundError(f'{name}: found neither in {SHARED} nor in {GOLDEN}')


def peer_python() -> str | None:
    """The Python that has the official package; None if there is none."""
    if found := os.environ.get(PEER_PYTHON):
        return found
    return sys.executable if importlib.util.find_spec(PEER) else None


class Side:
    """A process that measures one task after another, each in a fresh child.

    :param script: ``ours.py`` or ``official.py``, called with the checkpoint (and dtype).
    """

    def __init__(self, python: str, script: str, *arguments: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix='mlfc-bench-')
        self._messages = (Path(self._folder.name) / 'messages').open('w+')
        self._process = subprocess.Popen(
            [python, '-W', 'ignore', str(HERE / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            text=True,
            env={**os.environ, **ONE_THREAD},
            cwd=self._folder.name,
        )
        self._answer()

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._messages.close()
        self._folder.cleanup()

    def ask(
        self, task: str, crystal: Crystal | None = None, repeats: int = 1, arrays: bool = False, **arguments: Any
    ) -> dict[str, Any]:
        """Measure a task.

        :param arrays: bring back its arrays under ``arrays``.
        """
        folder = Path(self._folder.name)
        if crystal is not None:
            np.savez(folder / 'crystal.npz', cell=np.array(crystal.atoms.cell), positions=crystal.atoms.positions,
                     numbers=crystal.atoms.numbers)  # fmt: skip
            arguments |= {'crystal': str(folder / 'crystal.npz'), 'supercell': list(crystal.supercell)}
        keep = str(folder / 'arrays.npz') if arrays else None
        request = {'task': task, 'arguments': arguments, 'repeats': repeats, 'keep': keep}
        self._process.stdin.write(json.dumps(request) + '\n')
        self._process.stdin.flush()
        reply = self._answer()
        if arrays:
            with np.load(keep) as file:
                reply['arrays'] = {name: file[name] for name in file}
        return reply

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        while line and not line.startswith(REPLY):
            line = self._process.stdout.readline()  # packages print while they are imported
        reply = json.loads(line.removeprefix(REPLY)) if line else {'error': 'it ended'}
        if 'error' in reply:
            self._messages.flush()
            self._messages.seek(0)
            said = self._messages.read()[-2000:]
            raise RuntimeError(f'{" ".join(map(str, self._process.args))}: {reply["error"]}\n{said}')
        return reply


def ours(dtype: str, name: str = TOY) -> Side:
    """Our MatterSim (or the shipped potential of that name) in this environment."""
    return Side(sys.executable, 'ours.py', str(checkpoint(name)) if name.endswith('.pth') else name, dtype)


def official(name: str = TOY) -> Side | None:
    """The official package; None, and the reason on the screen, where it is absent."""
    python = peer_python()
    if python is None:
        print(f'the official package {PEER} is not installed here, and {PEER_PYTHON} names no Python that has it: '
              'its rows are left out')  # fmt: skip
        return None
    return Side(python, 'official.py', str(checkpoint(name)))
