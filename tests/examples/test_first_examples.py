"""The three examples that need no AiiDA run as they stand, and say what they should."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / 'examples'


@pytest.mark.parametrize(
    ('script', 'said', 'written'),
    [
        ('01_potential_to_forces.py', 'force on atom 0', None),
        ('02_crystal_to_force_constants.py', 'Fd-3m (227)', 'phonopy_params.yaml'),
        ('03_force_constants_to_figures.py', 'verdicts', 'NaCl_bands_and_dos.png'),
    ],
)
def test_example(script, said, written, tmp_path):
    code = (
        "import sys, runpy; sys.modules['aiida'] = None; sys.argv = [sys.argv[1]]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, '-c', code, str(EXAMPLES / script)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    if written:
        assert (tmp_path / written).stat().st_size > 1000
