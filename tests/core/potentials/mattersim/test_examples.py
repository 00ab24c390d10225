"""The MatterSim examples in smoke mode, each in an interpreter of its own; the notebook through Jupyter."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .reference_values import TINY

ROOT = Path(__file__).parents[4]
EXAMPLES = sorted((ROOT / 'examples').glob('1?_mattersim_*'))


ENVIRONMENT = os.environ | {
    'CI': '1', 'MLFC_MATTERSIM_CHECKPOINT': str(TINY), 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1',
}
#: runs the notebook of the first argument in a kernel of its own and writes it, with outputs, as the second
EXECUTE = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=120, kernel_name='python3').execute()
nbformat.write(notebook, sys.argv[2])
"""


def run(folder, *arguments, **variables):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=folder, env=ENVIRONMENT | variables, capture_output=True,
        text=True, timeout=180, check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_there_are_four():
    assert [path.suffix for path in EXAMPLES] == ['.py', '.py', '.py', '.ipynb']


@pytest.mark.parametrize('path', EXAMPLES[:-1], ids=lambda path: path.name)
def test_example(path, tmp_path):
    assert '->' in run(tmp_path, path)
    assert (tmp_path / f'{path.stem}.html').stat().st_size > 1000


def test_notebook_through_jupyter(tmp_path):
    """Every cell by a kernel; nothing of it is written outside of the folder."""
    executed = tmp_path / 'executed.ipynb'
    run(
        tmp_path, '-c', EXECUTE, EXAMPLES[-1], executed, JUPYTER_PREFER_ENV_PATH='1', IPYTHONDIR=str(tmp_path / 'i'),
        JUPYTER_RUNTIME_DIR=str(tmp_path / 'r'), JUPYTER_CONFIG_DIR=str(tmp_path / 'c'),
    )
    cells = [cell for cell in json.loads(executed.read_text(encoding='utf-8'))['cells'] if cell['cell_type'] == 'code']
    assert [cell['execution_count'] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell['outputs']]
    printed = ''.join(''.join(output['text']) for output in outputs if output.get('name') == 'stdout')
    assert '10 steps' in printed
    assert '->' in printed
    assert not [output for output in outputs if output['output_type'] == 'error' or output.get('name') == 'stderr']
    # The figure is a figure in the notebook, too, and not the text of an object.
    assert any('application/vnd.plotly.v1+json' in output.get('data', {}) for output in outputs)
    assert (tmp_path / f'{EXAMPLES[-1].stem}.html').stat().st_size > 1000


def test_notebook_is_stored_without_outputs():
    cells = json.loads(EXAMPLES[-1].read_text(encoding='utf-8'))['cells']
    assert all(not cell['outputs'] for cell in cells if cell['cell_type'] == 'code')
