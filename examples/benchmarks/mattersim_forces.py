"""Energy and forces by our MatterSim and by the official package: same weights, structures and threads, same run.

The weights are a toy of the size of the published 1M model; time does not depend on what they are.

The official package pins versions that this one does not want, so it has an environment of its own, in which this one
is found by its path:

    python -m venv official && official/bin/pip install mattersim==1.2.3 -c constraints.txt
    official/bin/pip uninstall -y torchvision torchaudio  # of another torch, and not needed
    official/bin/pip install vesin safetensors e3nn h5py symfc aiida-phonopy seekpath -c constraints.txt
    PYTHONPATH=. OMP_NUM_THREADS=1 official/bin/python examples/benchmarks/run.py --case mattersim-batch64
"""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk

from aiida_mlfc.core.potentials.mattersim.calculator import DifferentiableMatterSimCalculator

CHECKPOINT = Path(__file__).parents[2] / 'tests/core/potentials/mattersim/golden/toy-si-1M.pth'
PEER = 'mattersim'
#: measurements of which the median is taken, after one that is not counted
REPEATS = 5
#: crystals in the batch
N_CRYSTALS = 64
Answer = tuple[float, np.ndarray]


def single() -> list[Atoms]:
    """Silicon, 64 atoms, rattled."""
    atoms = bulk('Si', 'diamond', 5.43, cubic=True) * (2, 2, 2)
    atoms.rattle(0.05, seed=1)
    return [atoms]


def many() -> list[Atoms]:
    """Small crystals of 1 to 4 atoms, each strained and rattled in its own way."""
    kinds = [
        bulk('Si', 'diamond', 5.43), bulk('MgO', 'rocksalt', 4.21), bulk('Cu', 'fcc', 3.61),
        bulk('ZnO', 'wurtzite', 3.25, c=5.2),
    ]  # fmt: skip
    crystals = []
    for k in range(N_CRYSTALS):
        atoms = kinds[k % len(kinds)].copy()
        strain = 0.02 * np.random.default_rng(k).standard_normal((3, 3))
        atoms.set_cell(np.array(atoms.cell) @ (np.eye(3) + strain), scale_atoms=True)
        atoms.rattle(0.03, seed=k)
        crystals.append(atoms)
    return crystals


CASES: dict[str, Callable[[], list[Atoms]]] = {'mattersim-si64': single, 'mattersim-batch64': many}


def why_not() -> str | None:
    """Why these cases cannot run here; None if they can."""
    return None if importlib.util.find_spec(PEER) else f'the official package {PEER} is not installed, left out'


def official() -> Callable[[list[Atoms]], list[Answer]]:
    """The official ASE calculator, one structure after the other, without stress."""
    from mattersim.forcefield import MatterSimCalculator

    calculator = MatterSimCalculator.from_checkpoint(str(CHECKPOINT), device='cpu', compute_stress=False)
    # from_checkpoint drops the argument
    calculator.compute_stress = False

    def answer(structures: list[Atoms]) -> list[Answer]:
        found = []
        for atoms in structures:
            calculator.calculate(atoms, ['energy', 'forces'])
            found.append((float(calculator.results['energy']), np.array(calculator.results['forces'])))
        return found

    return answer


def ours(dtype: torch.dtype) -> Callable[[list[Atoms]], list[Answer]]:
    """Our calculator, all structures in one batch; neighbours are searched anew each time, as the peer does."""
    calculator = DifferentiableMatterSimCalculator(CHECKPOINT, dtype=dtype)

    def answer(structures: list[Atoms]) -> list[Answer]:
        calculator.reset_topology()
        result = calculator.forward_batch(structures, include_forces=True)
        forces = result['forces'].detach().split([len(atoms) for atoms in structures])
        return [(float(e), f.numpy()) for e, f in zip(result['total_energy'].detach(), forces, strict=True)]

    return answer


def measured(calls: list[Callable[[], Any]]) -> list[float]:
    """Median seconds of each call, taken in turns so that a busy machine is busy for all."""
    seconds: list[list[float]] = [[] for _ in calls]
    for k in range(REPEATS + 1):
        for call, found in zip(calls, seconds, strict=True):
            started = time.perf_counter()
            call()
            if k:
                found.append(time.perf_counter() - started)
    return [statistics.median(found) for found in seconds]


def rows(name: str) -> Iterator[dict[str, Any]]:
    """The rows of one case, in float32 (as the peer) and float64."""
    structures = CASES[name]()
    peer, single_precision, double = official(), ours(torch.float32), ours(torch.float64)
    peer_seconds, *seconds = measured([lambda f=f: f(structures) for f in (peer, single_precision, double)])
    exact = double(structures)
    errors = [max_difference(answer(structures), exact) for answer in (single_precision, peer)]
    accuracy = f'forces differ from our float64 by {errors[0]:.1e} (ours, float32) and {errors[1]:.1e} eV/Å (peer)'
    for dtype, spent in zip(('float32', 'float64'), seconds, strict=True):
        yield {
            'case': name,
            'quantity': f'energy and forces of {len(structures)} structures in {dtype}, neighbours included, s',
            'ours': spent,
            'peer': f'{PEER} {version()}, one by one, float32; threads of both: {torch.get_num_threads()}',
            'peer_value': peer_seconds,
            'ratio': spent / peer_seconds,
            'accuracy': accuracy,
        }


def max_difference(found: list[Answer], wanted: list[Answer]) -> float:
    """Largest difference of a force component, eV/Å."""
    return max(float(np.abs(f - g).max()) for (_, f), (_, g) in zip(found, wanted, strict=True))


def version() -> str:
    """Of the official package."""
    from importlib.metadata import version

    return version(PEER)
