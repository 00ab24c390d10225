"""Exact force constants against phonopy's finite displacements with the same potential, same supercell, same run.

Energy and forces of MatterSim against the official package, where that is installed (``mattersim_forces.py``).

    python examples/benchmarks/run.py [--case NAME]

Writes ``.bench/results.json``: rows ``{case, quantity, ours, peer, peer_value, ratio, accuracy}``, ratio = ours / peer.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.io import read
from mattersim_forces import CASES as MATTERSIM_CASES
from mattersim_forces import rows as mattersim_rows
from mattersim_forces import why_not
from phonopy import Phonopy

from aiida_mlfc import compute_force_constants, load_potential
from aiida_mlfc.core.potentials.relaxation.relax import PotentialCalculator
from aiida_mlfc.core.structures.cells import to_ase, to_phonopy

STRUCTURES = Path(__file__).parents[1] / 'structures'
CASES: dict[str, tuple[Any, list[int]]] = {
    'si64': (lambda: bulk('Si', 'diamond', 5.4336, cubic=True), [2, 2, 2]),
    'nacl64': (lambda: bulk('NaCl', 'rocksalt', 5.6406, cubic=True), [2, 2, 2]),
    'mgo64': (lambda: bulk('MgO', 'rocksalt', 4.2177, cubic=True), [2, 2, 2]),
    'quartz72': (lambda: read(STRUCTURES / 'SiO2_quartz.cif'), [2, 2, 2]),
}


def finite_displacements(crystal: Atoms, supercell: list[int], calculator: PotentialCalculator) -> np.ndarray:
    """phonopy's own way, its defaults: 0.01 Å, plus-minus where symmetry asks for it, one ASE call each."""
    phonon = Phonopy(to_phonopy(crystal), np.diag(supercell), primitive_matrix='P', log_level=0)
    phonon.generate_displacements(distance=0.01)
    forces = []
    for displaced in phonon.supercells_with_displacements:
        atoms = to_ase(displaced)
        atoms.calc = calculator
        forces.append(atoms.get_forces())
    phonon.forces = np.array(forces)
    phonon.produce_force_constants(calculate_full_force_constants=False, fc_calculator='traditional')
    return np.array(phonon.force_constants)


def mattersim(name: str) -> list[dict[str, Any]]:
    """Rows of a MatterSim case; none, and the reason on the screen, where the peer is absent."""
    if reason := why_not():
        print(f'{name:18} {reason}')
        return []
    found = list(mattersim_rows(name))
    for row in found:
        show(row)
    return found


def show(row: dict[str, Any]) -> None:
    """One line."""
    print('{case:18} ours {ours:6.3f} s  peer {peer_value:6.3f} s  ratio {ratio:5.2f}  {accuracy}'.format(**row))


def main() -> None:
    """Run the cases, print and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--case', choices=sorted({**CASES, **MATTERSIM_CASES}))
    chosen = parser.parse_args().case
    potential = load_potential('dx-demo')
    rows = []
    for name in [chosen] if chosen else [*CASES, *MATTERSIM_CASES]:
        if name in MATTERSIM_CASES:
            rows += mattersim(name)
            continue
        make, supercell = CASES[name]
        crystal = make()
        # once unmeasured, so that neither side pays for first-call set-up
        compute_force_constants(crystal, [1, 1, 1], potential, primitive_matrix='P')
        started = time.perf_counter()
        ours = compute_force_constants(crystal, supercell, potential, primitive_matrix='P')
        middle = time.perf_counter()
        peer = finite_displacements(crystal, supercell, PotentialCalculator(potential))
        ended = time.perf_counter()
        accuracy = float(np.linalg.norm(peer - ours.array) / np.linalg.norm(ours.array))
        seconds, peer_seconds = middle - started, ended - middle
        rows.append(
            {
                'case': name,
                'quantity': 'force constants, s, symmetry search included',
                'ours': seconds,
                'peer': 'phonopy finite displacements, same potential',
                'peer_value': peer_seconds,
                'ratio': seconds / peer_seconds,
                'accuracy': f'peer differs from exact by {accuracy:.1e} relative',
            }
        )
        show(rows[-1])
    output = Path('.bench')
    output.mkdir(exist_ok=True)
    (output / 'results.json').write_text(json.dumps(rows, indent=2) + '\n')


if __name__ == '__main__':
    main()
