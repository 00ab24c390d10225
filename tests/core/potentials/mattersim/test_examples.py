"""The MatterSim examples in smoke mode, each in an interpreter of its own; the notebook cell by cell."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .reference_values import TINY

ROOT = Path(__file__).parents[4]
EXAMPLES = sorted((ROOT / 'examples').glob('1?_mattersim_*'))


def source_of(path):
    """The Python of a script or of the code cells of a notebook."""
    text = path.read_text(encoding='utf-8')
    if path.suffix == '.py':
        return text
    return '\n'.join(''.join(cell['source']) for cell in json.loads(text)['cells'] if cell['cell_type'] == 'code')


def test_there_are_four():
    assert [path.suffix for path in EXAMPLES] == ['.py', '.py', '.py', '.ipynb']


@pytest.mark.parametrize('path', EXAMPLES, ids=lambda path: path.name)
def test_example(path, tmp_path):
    environment = os.environ | {
        'CI': '1', 'MLFC_MATTERSIM_CHECKPOINT': str(TINY), 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1',
    }
    run = subprocess.run([sys.executable, '-c', source_of(path)], cwd=tmp_path, env=environment, capture_output=True,
                         text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    assert '->' in run.stdout
    assert (tmp_path / f'{path.stem}.html').stat().st_size > 1000


def test_notebook_is_stored_without_outputs():
    cells = json.loads(EXAMPLES[-1].read_text(encoding='utf-8'))['cells']
    assert all(not cell['outputs'] for cell in cells if cell['cell_type'] == 'code')
