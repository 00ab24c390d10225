"""An ensemble for a potential that has none: its weights stay, its card gains."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from aiida_mlfc.core.checkpoint_files import read_header, resolve

WORKFLOWS = Path(__file__).parents[2] / 'workflows'
REFERENCES = Path(__file__).parents[3] / 'shared' / 'data' / 'dft_references'


@pytest.mark.skipif(not REFERENCES.exists(), reason=f'DFT references are not there: {REFERENCES}')
def test_weights_stay_and_the_card_gains(tmp_path):
    output = tmp_path / 'dx-si-again.safetensors'
    program = [sys.executable, WORKFLOWS / 'add_uncertainty.py', 'dx-si', '--references', REFERENCES,
               '--output', output, '--members', '3', '--threads', '1']  # fmt: skip
    done = subprocess.run(program, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert '3 members, calibrated on held back: Si_PBEsol_fc3' in done.stdout
    before, after = load_file(resolve('dx-si')), load_file(output)
    assert set(before) == set(after)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    old, new = read_header(resolve('dx-si')).card, read_header(output).card
    assert new['uncertainty']['n_members'] == 3
    assert {**new, 'uncertainty': None} == {**old, 'uncertainty': None}
