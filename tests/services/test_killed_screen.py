"""The screen whose parts are killed, small; at full size: ``python examples/benchmarks/killed_screen.py``."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / 'examples' / 'benchmarks' / 'killed_screen.py'
#: s
PATIENCE = 600


@pytest.mark.daemon
@pytest.mark.skipif(
    not os.environ.get('MLFC_TEST_KILLS'), reason='five minutes of kill -9: runs with MLFC_TEST_KILLS set'
)
def test_nothing_is_lost_or_computed_for_nobody(tmp_path):
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', SCRIPT, '--crystals', '24', '--kills', '4', '--pause', '5', '--shard-size',
         '6', '--seed', '3', '--folder', tmp_path / 'home'],
        capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    said = done.stderr[-3000:] + done.stdout
    assert done.returncode == 0, said
    found = json.loads(done.stdout)
    assert found['crystals'] == 24, said
    assert sum(found['kills'].values()) == 4, said
    assert all(found['holds'].values()), said
