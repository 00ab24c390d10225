"""Rows of the benchmarks that stand on their own, each run in a process of its own with one thread."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from row import Findings
from sides import HERE, ONE_THREAD, PEER, PEER_PYTHON, peer_python

_COLLECT = """
import json, sys
from importlib import import_module
import torch
torch.set_num_threads(1)
name, output, *arguments = sys.argv[1:]
open(output, 'w').write(json.dumps(list(import_module(name).rows(*arguments))))
"""


def measure(module: str, *arguments: str, with_official: bool = False) -> Findings:
    """Rows of ``module.rows(*arguments)``.

    :param with_official: it imports ours and the official package into one process.
    """
    found = Findings()
    if not (HERE / f'{module}.py').exists():
        found.skipped.append(f'{module}.py is not there')
        return found
    python = sys.executable
    if with_official and importlib.util.find_spec(PEER) is None:
        if (named := peer_python()) is None:
            found.skipped.append(f'{module}: the official package is not installed, and {PEER_PYTHON} names none')
            return found
        python = named
    with tempfile.TemporaryDirectory(prefix='mlfc-bench-') as folder:
        output = Path(folder) / 'rows.json'
        paths = os.pathsep.join([str(HERE), str(HERE.parents[1]), os.environ.get('PYTHONPATH', '')])
        done = subprocess.run(
            [python, '-W', 'ignore', '-c', _COLLECT, module, str(output), *arguments],
            env={**os.environ, **ONE_THREAD, 'PYTHONPATH': paths}, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f'{module} ended with {done.returncode}: {done.stderr[-3000:]}')
        return Findings.of_rows(json.loads(output.read_text(encoding='utf-8')))
