"""A screen of twenty crystals through AiiDA: ``mlfc.screen`` against aiida-phonopy's ``PhonopyAseWorkChain``.

The same potential (``dx-demo``; the peer has it as ASE calculator), crystals, supercells, machine and profile, a fresh
one. The peer needs ``pip install aiida-pythonjob``. It is slow, so that it gets the first few crystals, one of each
kind, and its time is taken per crystal.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from aiida_jobs import POTENTIAL, SUPERCELL, crystals
from row import Findings, Row
from sides import HERE, ONE_THREAD

from aiida_mlfc import compute_force_constants, load_potential

#: ratio of the time per crystal that is wanted: ten times the throughput
LIMIT = 0.1
PEER = 'aiida-phonopy PhonopyAseWorkChain, same potential as ASE calculator'
PEER_NEEDS = 'aiida_pythonjob'
#: Å, of the peer
DISTANCE = 0.01


def measure(n_crystals: int = 20, n_peer: int = 4) -> Findings:
    """Time per crystal, and what the results differ by."""
    found = Findings()
    if importlib.util.find_spec(PEER_NEEDS) is None:
        found.skipped.append('screen through AiiDA: the peer needs aiida-pythonjob (pip install aiida-pythonjob)')
        return found
    with tempfile.TemporaryDirectory(prefix='mlfc-bench-') as name:
        # a job of the direct scheduler finds this package and its environment as we do
        environment = {**os.environ, **ONE_THREAD, 'AIIDA_PATH': name}
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', str(HERE / 'aiida_jobs.py'), str(n_crystals), str(n_peer)],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            said = done.stdout[-2000:] + done.stderr[-4000:]
            raise RuntimeError(f'aiida_jobs.py ended with {done.returncode}: {said}')
        results = json.loads((Path(name) / 'results.json').read_text(encoding='utf-8'))
        with np.load(Path(name) / 'arrays.npz') as file:
            arrays = {key: file[key] for key in file}
    accuracy = explained(arrays, results['keys'], n_crystals)
    atoms = int(2 * np.prod(SUPERCELL))
    for part, what in (
        ('seconds', 'with bands, DOS and stability, which the peer lacks'),
        ('alone', 'force constants'),
    ):
        found.rows.append(Row(
            'aiida-screen', f'screen of {n_crystals} crystals, {atoms} atoms a supercell, {what}, '
            'wall s per crystal', results[part] / n_crystals,
            f'{PEER}; {n_peer} crystals, {results["n_jobs"]} jobs', results['peer_seconds'] / n_peer, accuracy, LIMIT,
        ))  # fmt: skip
    return found


def explained(arrays: dict[str, np.ndarray], keys: list[str], count: int) -> str:
    """How far the peer is from the exact, and that its finite step is the whole reason."""
    model, atoms = load_potential(POTENTIAL), dict(crystals(count))
    apart, left = [], []
    for key in keys:
        exact, peer = arrays[f'ours_{key}'], arrays[f'theirs_{key}']
        same_step = compute_force_constants(
            atoms[key], SUPERCELL, model, 'finite_difference', DISTANCE, truncation_qpoints=0
        ).array
        apart.append(np.linalg.norm(peer - exact) / np.linalg.norm(exact))
        left.append(np.linalg.norm(peer - same_step) / np.linalg.norm(exact))
    return (
        f'force constants differ by {max(apart):.0e} relative, the peer from our finite differences of the same step '
        f'({DISTANCE} Å) by {max(left):.0e}; ours are exact'
    )
