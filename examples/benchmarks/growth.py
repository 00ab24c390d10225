"""How cost grows: force constants with the atoms of the supercell, by both engines; D(q) with the q-points."""

from __future__ import annotations

import numpy as np
from ase.build import bulk
from crystals import Crystal
from row import Curve, Findings, Row
from sides import TOY, ours

#: repeats of the primitive cell of silicon
REPEATS = (2, 3, 4, 5)
N_QPOINTS = (1, 2, 4, 8, 16, 32, 64)


def measure(name: str = TOY, repeats: tuple[int, ...] = REPEATS, counts: tuple[int, ...] = N_QPOINTS) -> Findings:
    """Curves, and how flat the cost per atom and per q-point is from the first third of the curve to its end."""
    found = Findings()
    primitive = bulk('Si', 'diamond', 5.43)
    with ours('float64', name) as side:
        n_atoms = [2 * n**3 for n in repeats]
        for engine in ('rows', 'qspace'):
            answers = [
                side.ask('force_constants', Crystal('si', primitive, (n, n, n)), 2, engine=engine) for n in repeats
            ]
            seconds = [answer['seconds']['alone'] for answer in answers]
            for what, y in (('CPU s', seconds), ('MiB', [answer['memory'] for answer in answers])):
                title = 'Force constants of Si, float64, symmetry known before: ' + ('time' if what == 'CPU s' else
                                                                                     'peak memory')  # fmt: skip
                found.curves.append(Curve(title, engine, 'atoms in the supercell', what, list(map(float, n_atoms)), y))
            start = len(repeats) // 3
            found.rows.append(Row(
                'growth', f'{engine}: CPU s per atom of the supercell at {n_atoms[-1]} atoms',
                seconds[-1] / n_atoms[-1], f'the same at {n_atoms[start]} atoms', seconds[start] / n_atoms[start],
                'float64, symmetry known before',
            ))  # fmt: skip
        qpoints = np.random.default_rng(0).uniform(-0.5, 0.5, (max(counts), 3)).round(4).tolist()
        cell = Crystal('si2', primitive, (1, 1, 1))
        seconds = [side.ask('qpoint_matrices', cell, 2, qpoints=qpoints[:n])['seconds']['all'] for n in counts]
        found.curves.append(Curve('D(q) of Si at general q-points, float64', 'q-space', 'q-points', 'CPU s',
                                  list(map(float, counts)), seconds))  # fmt: skip
        start = len(counts) // 3
        found.rows.append(Row(
            'growth', f'CPU s per q-point of {counts[-1]}', seconds[-1] / counts[-1],
            f'the same of {counts[start]}', seconds[start] / counts[start], 'float64, general q-points of Si',
        ))  # fmt: skip
    return found
