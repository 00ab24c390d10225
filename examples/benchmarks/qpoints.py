"""Dynamical matrices at q-points without a supercell: what a stability screen costs, and that the numbers are exact.

The unit of cost is one energy-and-force evaluation of 64 atoms, by the official package and by ours.
"""

from __future__ import annotations

import numpy as np
from ase.build import bulk
from crystals import Crystal, silicon, triclinic
from phonopy import Phonopy
from row import Findings, Row
from sides import TOY, official, ours

from aiida_mlfc.core.structures.cells import to_phonopy

#: energy-and-force evaluations that a screen at ten q-points may cost
LIMIT = 4.0
#: Γ, Δ, X, W, K, Σ, L, Λ, U and a general one, reciprocal lattice of the fcc primitive cell
SPECIAL = [
    [0, 0, 0], [0.25, 0, 0.25], [0.5, 0, 0.5], [0.5, 0.25, 0.75], [0.375, 0.375, 0.75], [0.1875, 0.1875, 0.375],
    [0.5, 0.5, 0.5], [0.25, 0.25, 0.25], [0.625, 0.25, 0.625], [0.31, 0.12, 0.05],
]  # fmt: skip
GENERAL = np.random.default_rng(10).uniform(-0.5, 0.5, (10, 3)).round(3).tolist()
#: doubled along a: its commensurate wave vectors, and eV/Å² that rows and q-space may differ by
DOUBLED, COMMENSURATE = (2, 1, 1), [[0.0, 0.0, 0.0], [0.5, 0.0, 0.0]]

#: takes every symmetry from rock salt
STRAIN = np.array([[0.01, 0.004, 0.0], [0.0, -0.007, 0.003], [0.002, 0.0, 0.0]])


def measure(name: str = TOY, repeats: int = 4) -> Findings:
    """Rows of cost, and the difference from the rows of a supercell on a crystal without symmetry."""
    found = Findings()
    primitive, supercell = Crystal('si2', bulk('Si', 'diamond', 5.43), (1, 1, 1)), silicon(2)
    with ours('float64', name) as double, ours('float32', name) as single:
        peer = official(name)
        sides = {'float32': single, 'float64': double}
        units = {f'own, {k}': side.ask('energy_forces', supercell, repeats)['seconds']['all']
                 for k, side in sides.items()}  # fmt: skip
        if peer is None:
            found.skipped.append('q-points in units of the official package: it is absent')
        else:
            with peer:
                units['official, float32'] = peer.ask('energy_forces', supercell, repeats)['seconds']['all']
        for where, qpoints in (('high-symmetry', SPECIAL), ('general', GENERAL)):
            answers = {k: side.ask('qpoint_matrices', primitive, repeats, arrays=True, qpoints=qpoints)
                       for k, side in sides.items()}  # fmt: skip
            exact = answers['float64']['arrays']['matrices']
            error = np.linalg.norm(answers['float32']['arrays']['matrices'] - exact) / np.linalg.norm(exact)
            for dtype, answer in answers.items():
                for unit, seconds in units.items():
                    if unit.startswith('own') and dtype not in unit:
                        continue
                    found.rows.append(Row(
                        'qpoints', f'D(q) and frequencies at 10 {where} q-points of Si in {dtype}, CPU s',
                        answer['seconds']['all'], f'one energy and forces of 64 atoms, {unit}', seconds,
                        f'float32 differs from float64 by {error:.0e} relative', LIMIT,
                    ))  # fmt: skip
        found.rows += [_exactness(double, 'MatterSim')]
        if name == TOY:
            with ours('float64', 'dx-demo') as other:
                found.rows += [_exactness(other, 'dx')]
    return found


def _exactness(side, model: str) -> Row:
    """Largest element by which rows of a doubled cell and q-space differ, eV/Å²; the limit is that of the issue."""
    atoms = triclinic(inversion=False)
    if model == 'dx':
        atoms = bulk('NaCl', 'rocksalt', 5.6406)
        atoms.set_cell(np.array(atoms.cell) @ (np.eye(3) + STRAIN), scale_atoms=True)
        atoms.positions[1] += (0.02, -0.03, 0.01)
    crystal = Crystal('doubled', atoms, DOUBLED)
    rows = side.ask('force_constants', crystal, arrays=True, engine='rows')['arrays']['force_constants']
    phonon = Phonopy(to_phonopy(atoms), np.diag(DOUBLED), primitive_matrix='P', is_symmetry=False, log_level=0)
    found = side.ask('qpoint_matrices', crystal, arrays=True, qpoints=COMMENSURATE)['arrays']['matrices']
    phonon.force_constants = rows
    masses = np.repeat(phonon.primitive.masses, 3)
    weights = np.sqrt(np.outer(masses, masses))
    differences = []
    for q, matrix in zip(COMMENSURATE, found, strict=True):
        phonon.dynamical_matrix.run(q)
        differences.append(np.abs((matrix - phonon.dynamical_matrix.dynamical_matrix) * weights).max())
    return Row(
        'qpoints', f'largest difference of Φ(q) from rows of a supercell, {len(atoms)} atoms in P1, {model}, eV/Å²',
        float(max(differences)), 'what is allowed', 1e-9, f'largest element {np.abs(rows).max():.1f} eV/Å²', 1.0,
    )  # fmt: skip
