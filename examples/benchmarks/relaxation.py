"""Relaxation of cell and positions by Newton's method against ASE's optimisers: same potential, goal, symmetry and run.

Twenty crystals away from their minimum by random strains of 1 to 3 %: eight that keep their space group, eight whose
strain leaves them triclinic, four of silicon with MatterSim's architecture (toy weights). The peer is the best of ASE's
BFGS, LBFGS, BFGSLineSearch and FIRE *for each crystal*, with ``FrechetCellFilter`` and ``FixSymmetry``. Both sides stop
as soon as |F| < 1e-6 eV/Å and |stress| < 1e-3 GPa.

    python examples/benchmarks/relaxation.py [--output FILE]

Counted are gradient evaluations (energy, forces and stress at one crystal), as the peer needs them too, and beside them
what the peer has not: products with the Hessian, about 1.5 gradient evaluations each. Time is CPU time of one thread.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixSymmetry
from ase.filters import FrechetCellFilter
from ase.io import read
from ase.optimize import BFGS, FIRE, LBFGS, BFGSLineSearch
from ase.spacegroup.symmetrize import prep_symmetry

from aiida_mlfc import load_potential, relax
from aiida_mlfc.core.potentials.relaxation.relax import PotentialCalculator
from aiida_mlfc.core.structures.symmetry import spacegroup, symmetrized
from aiida_mlfc.core.units import EV_PER_CUBIC_ANGSTROM_IN_GPA

STRUCTURES = Path(__file__).parents[1] / 'structures'
TOY = Path(__file__).parents[2] / 'tests/core/potentials/mattersim/golden/toy-si-1M.pth'
#: eV/Å, GPa, Å
FMAX, SMAX, SYMPREC = 1e-6, 1e-3, 1e-4
OPTIMIZERS = (BFGS, LBFGS, BFGSLineSearch, FIRE)
LIMIT = 500


@dataclass(frozen=True)
class Case:
    """A crystal to relax."""

    name: str
    atoms: Atoms
    potential: Any


def strained(atoms: Atoms, size: float, seed: int, keep_symmetry: bool) -> Atoms:
    """A random strain of largest principal value ``size``, averaged over the point group if symmetry is to be kept."""
    moved = symmetrized(atoms, SYMPREC)
    cell = np.array(moved.cell)
    strain = np.random.default_rng(seed).standard_normal((3, 3))
    strain = (strain + strain.T) / 2
    if keep_symmetry:
        rotations = [cell.T @ r @ np.linalg.inv(cell.T) for r in prep_symmetry(moved, SYMPREC)[0]]
        strain = np.mean([r @ strain @ r.T for r in rotations], axis=0)
    strain *= size / np.abs(np.linalg.eigvalsh(strain)).max()
    moved.set_cell(cell @ (np.eye(3) + strain), scale_atoms=True)
    return moved


def cases() -> Iterator[Case]:
    """The twenty crystals."""
    demo, toy = load_potential('dx-demo'), load_potential(TOY)
    files = {
        'Si': 'Si_diamond.poscar', 'NaCl': 'NaCl_rocksalt.cif', 'ZnTe': 'ZnTe_zincblende.cif',
        'AlN': 'AlN_wurtzite.cif', 'GaN': 'GaN_wurtzite.cif', 'SiO2': 'SiO2_quartz.cif', 'SnO2': 'SnO2_rutile.cif',
    }  # fmt: skip
    crystals = {'MgO': bulk('MgO', 'rocksalt', 4.2177), **{k: read(STRUCTURES / f) for k, f in files.items()}}
    for k, (name, atoms) in enumerate(crystals.items()):
        yield Case(f'{name}, symmetric strain', strained(atoms, 0.01 + 0.02 * k / 7, k, True), demo)
    # Once its symmetry is broken the potential takes rutile elsewhere, farther than it was trained: it is refused.
    crystals['AlN zincblende'] = read(STRUCTURES / 'AlN_zincblende.extxyz')
    del crystals['SnO2']
    for k, (name, atoms) in enumerate(crystals.items()):
        yield Case(f'{name}, any strain', strained(atoms, 0.01 + 0.02 * k / 7, 100 + k, False), demo)
    hexagonal = Atoms('Si4', scaled_positions=[[0, 0, 0], [0, 0, 0.375], [1 / 3, 2 / 3, 0.5], [1 / 3, 2 / 3, 0.875]],
                      cell=[3.84, 3.84, 6.28, 90, 90, 120], pbc=True)  # fmt: skip
    rattled = bulk('Si', 'diamond', 5.43, cubic=True)
    rattled.rattle(0.05, seed=1)
    yield Case('Si hexagonal, symmetric strain', strained(hexagonal, 0.02, 1, True), toy)
    yield Case('Si hexagonal, any strain', strained(hexagonal, 0.02, 1, False), toy)
    yield Case('Si diamond, any strain', strained(bulk('Si', 'diamond', 5.43), 0.03, 2, False), toy)
    yield Case('Si 8 atoms rattled 0.05 Å, any strain', strained(rattled, 0.02, 3, False), toy)


def by_ase(case: Case) -> tuple[str, int, float, float]:
    """The best of ASE: its name, gradient evaluations, CPU seconds and final energy."""
    best: tuple[str, int, float, float] | None = None
    for optimizer in OPTIMIZERS:
        atoms = case.atoms.copy()
        calculator = atoms.calc = PotentialCalculator(case.potential)
        atoms.set_constraint(FixSymmetry(atoms, symprec=SYMPREC))
        started = time.process_time()
        # fmax=0: it is we who stop it, at the same goal as ours
        for _ in optimizer(FrechetCellFilter(atoms), logfile=None).irun(fmax=0.0, steps=LIMIT):
            stress = np.abs(atoms.get_stress()).max() * EV_PER_CUBIC_ANGSTROM_IN_GPA
            if np.abs(atoms.get_forces()).max() <= FMAX and stress <= SMAX:
                found = (optimizer.__name__, calculator.n_evaluations, time.process_time() - started,
                         float(atoms.get_potential_energy()))  # fmt: skip
                best = found
                break
            if best is not None and calculator.n_evaluations >= best[1]:
                break  # it can only lose
    if best is None:
        raise RuntimeError(f'{case.name}: none of ASE reached the goal in {LIMIT} steps')
    return best


def rows() -> list[dict[str, Any]]:
    """One row a crystal for gradient evaluations, and the sums."""
    found, counts = [], {}
    for case in cases():
        started = time.process_time()
        ours = relax(case.atoms, case.potential, True, FMAX, SMAX, symprec=SYMPREC)
        seconds = time.process_time() - started
        peer, evaluations, peer_seconds, energy = by_ase(case)
        if ours.optimiser != 'newton':
            raise RuntimeError(f'{case.name}: Newton gave up: {ours.fallback}')
        counts[case.name] = (
            ours.n_gradient_evaluations, ours.n_hessian_products, evaluations, seconds, peer_seconds,
        )  # fmt: skip
        found.append(
            _row(
                f'relax {case.name}, {len(case.atoms)} atoms, {spacegroup(case.atoms, SYMPREC)}',
                'gradient evaluations',
                ours.n_gradient_evaluations,
                f'ASE {peer}',
                evaluations,
                f'energies differ by {ours.energy - energy:.0e} eV; beside them {ours.n_hessian_products} Hessian '
                f'products; CPU {seconds:.2f} s, peer {peer_seconds:.2f} s',
            )
        )
        show(found[-1])
    n_single = len(found)
    for group, end in (('all', ''), ('symmetric strains', 'symmetric strain'), ('any strains', 'any strain')):
        chosen = np.array([numbers for name, numbers in counts.items() if name.endswith(end)])
        if len(chosen):
            found += sums(f'relax, {group} {len(chosen)}', chosen.sum(0))
    for row in found[n_single:]:
        show(row)
    return found


def sums(name: str, counts: np.ndarray) -> list[dict[str, Any]]:
    """The rows of many crystals together."""
    gradients, products, theirs = (int(x) for x in counts[:3])
    best = 'the best of ASE for each'
    return [
        _row(name, 'gradient evaluations', gradients, best, theirs, f'and {products} Hessian products'),
        _row(name, 'gradient evaluations and Hessian products', gradients + products, best, theirs, ''),
        _row(name, 'CPU time, s', float(counts[3]), best, float(counts[4]), 'one thread'),
    ]


def _row(case: str, quantity: str, ours: float, peer: str, peer_value: float, accuracy: str) -> dict[str, Any]:
    keys = ('case', 'quantity', 'ours', 'peer', 'peer_value', 'ratio', 'accuracy')
    return dict(zip(keys, (case, quantity, ours, peer, peer_value, ours / peer_value, accuracy), strict=True))


def show(row: dict[str, Any]) -> None:
    """One line."""
    line = '{case}: {quantity} {ours:.4g}, {peer} {peer_value:.4g}, ratio {ratio:.3f}; {accuracy}'
    print(line.format(**row), flush=True)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--output', type=Path, default=Path('.bench/relaxation.json'))
    output = parser.parse_args().output
    torch.set_num_threads(1)
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(rows(), indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
