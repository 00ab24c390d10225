"""Our side: exact force constants and dynamical matrices, and the naive ways to them with the same model.

Run by :mod:`sides`: ``ours.py CHECKPOINT DTYPE``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from ase import Atoms
from phonopy import Phonopy
from side_loop import Laps, Measured, Result, clock, serve
from torch import Tensor

from aiida_mlfc import compute_force_constants, dynamical_matrices, load_potential
from aiida_mlfc.core.force_constants.irreducible import Setup, set_up
from aiida_mlfc.core.potentials.derivatives.energy_derivatives import energy_forces as model_forces
from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.structures.cells import to_ase, to_phonopy
from aiida_mlfc.runner.run import run_job

#: Å, phonopy's default
DISTANCE = 0.01


def read(crystal: str) -> Atoms:
    """The crystal that was sent."""
    with np.load(crystal) as file:
        return Atoms(file['numbers'], positions=file['positions'], cell=file['cell'], pbc=True)


def graph_of(atoms: Atoms) -> AtomGraph:
    """Its graph for the model of this process."""
    return build_graph(atoms, MODEL.cutoff, MODEL.species, MODEL.dtype, MODEL.device)


def warm_up(atoms: Atoms) -> None:
    """Both orders of derivatives of the unit cell, not measured."""
    dynamical_matrices(atoms, np.zeros(3), MODEL)


def energy_forces(crystal: str, supercell: list[int]) -> Measured:
    """One evaluation of the supercell, graph included."""
    atoms = read(crystal) * supercell
    warm_up(read(crystal))

    def run() -> Result:
        return {'arrays': {'forces': model_forces(MODEL, graph_of(atoms))[1].numpy()}}

    return run


def force_constants(crystal: str, supercell: list[int], engine: str = 'auto') -> Measured:
    """The public call; ``alone`` is its time without that of building supercells and searching symmetry, ``search``.

    The symmetry of the supercell is searched for rows only; with the engine ``auto`` it would count as ``alone``.
    """
    unitcell = read(crystal)
    warm_up(unitcell)

    def run() -> Result:
        search = 0.0

        def timed(*arguments: Any, **options: Any) -> Setup:
            nonlocal search
            started = clock()
            setup = set_up(*arguments, **options)
            if engine == 'rows':
                # generates the displacements: part of the search here as it is at the peer
                _ = setup.directions
            search = clock() - started
            return setup

        started = clock()
        with patch('aiida_mlfc.runner.force_constants.set_up', timed):
            found = compute_force_constants(unitcell, supercell, MODEL, engine=engine, truncation_qpoints=0)
        return {
            'seconds': {'search': search, 'alone': clock() - started - search},
            'arrays': {'force_constants': found.array},
            'facts': {'engine': found.quality.engine, 'n_products': found.quality.n_directions},
        }

    return run


def finite_displacements(crystal: str, supercell: list[int]) -> Measured:
    """phonopy's way with our model's forces: what is gained by the model, and what by exact derivatives."""
    unitcell = read(crystal)
    warm_up(unitcell)

    def run() -> Result:
        laps = Laps()
        phonon = Phonopy(to_phonopy(unitcell), np.diag(supercell), primitive_matrix='auto', log_level=0)
        phonon.generate_displacements(distance=DISTANCE)
        displaced = phonon.supercells_with_displacements
        laps.lap('search')
        phonon.forces = np.array([model_forces(MODEL, graph_of(to_ase(cell)))[1].numpy() for cell in displaced])
        phonon.produce_force_constants(calculate_full_force_constants=False)
        laps.lap('alone')
        return {'seconds': laps.seconds, 'arrays': {'force_constants': phonon.force_constants}}

    return run


def row_loop(crystal: str, supercell: list[int], n_rows: int) -> Measured:
    """The plain autograd loop over 3N rows, no symmetry: the first ``n_rows`` of them, graph kept."""
    atoms = read(crystal) * supercell
    warm_up(read(crystal))

    def run() -> Result:
        laps = Laps()
        graph = graph_of(atoms)
        positions = graph.positions.detach().requires_grad_(True)
        energy = MODEL(graph.with_positions(positions)).sum()
        (gradient,) = torch.autograd.grad(energy, positions, create_graph=True)
        laps.lap('first')
        rows = [torch.autograd.grad(g, positions, retain_graph=True)[0] for g in gradient.flatten()[:n_rows]]
        laps.lap('rows')
        return {'seconds': laps.seconds, 'arrays': {'rows': torch.stack(rows).numpy()}}

    return run


def dense_hessian(crystal: str, supercell: list[int]) -> Measured:
    """All 3N rows in one vmapped backward pass, as ``torch.func.hessian`` or ``vectorize=True`` would."""
    atoms = read(crystal) * supercell
    warm_up(read(crystal))

    def run() -> Result:
        graph = graph_of(atoms)

        def energy(positions: Tensor) -> Tensor:
            return MODEL(graph.with_positions(positions)).sum()

        hessian = torch.autograd.functional.hessian(energy, graph.positions, vectorize=True)
        return {'arrays': {'hessian': hessian.permute(0, 2, 1, 3).numpy()}}

    return run


def qpoint_matrices(crystal: str, supercell: list[int], qpoints: list[list[float]]) -> Measured:
    """Exact dynamical matrices of the unit cell and their eigenvalues; ``supercell`` is not used."""
    unitcell = read(crystal)
    warm_up(unitcell)

    def run() -> Result:
        matrices = dynamical_matrices(unitcell, np.array(qpoints), MODEL)
        return {'arrays': {'matrices': matrices, 'eigenvalues': np.linalg.eigvalsh(matrices)}}

    return run


def job(folder: str, warming: str) -> Measured:
    """``mlfc-run`` on a job folder, potential loaded anew; another one before it is not measured."""
    if run_job(Path(warming)) != 0:
        raise RuntimeError(f'mlfc-run: {warming} failed')

    def run() -> Result:
        if (code := run_job(Path(folder))) != 0:
            raise RuntimeError(f'mlfc-run: {folder} ended with {code}')
        return {}

    return run


if __name__ == '__main__':
    torch.set_num_threads(1)
    MODEL = load_potential(sys.argv[1], sys.argv[2])
    serve({
        'energy_forces': energy_forces, 'force_constants': force_constants,
        'finite_displacements': finite_displacements, 'row_loop': row_loop, 'dense_hessian': dense_hessian,
        'qpoint_matrices': qpoint_matrices, 'job': job,
    })  # fmt: skip
