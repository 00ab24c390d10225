"""Relaxation that keeps the space group: Newton steps with exact second derivatives in the coordinates symmetry leaves.

Few steps, and forces that vanish: near the end each step squares the error. Where Newton cannot go on, ASE's BFGS does,
and the record says so.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Literal

import numpy as np
import torch
from ase import Atoms

from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.registry import as_potential
from aiida_mlfc.core.potentials.relaxation.ase_calculator import PotentialCalculator as PotentialCalculator
from aiida_mlfc.core.potentials.relaxation.first_order import bfgs
from aiida_mlfc.core.potentials.relaxation.goal import Goal, NotConvergedError
from aiida_mlfc.core.potentials.relaxation.lockstep import SecondDerivativesError, run_together
from aiida_mlfc.core.potentials.relaxation.newton import NewtonSearch, StalledError
from aiida_mlfc.core.potentials.relaxation.symmetric_space import symmetric_space
from aiida_mlfc.core.potentials.validity import (
    RELAXATION_MARGIN,
    check_displacement,
    check_environment,
    check_stress_labels,
)
from aiida_mlfc.core.structures.symmetry import spacegroup, symmetrized

LOGGER = logging.getLogger(__name__)
#: largest force component at the end, eV/Å
DEFAULT_FMAX = 1e-6
#: largest stress component at the end, GPa
DEFAULT_SMAX = 1e-3
DEFAULT_STEPS = 500
#: edges of the graphs that are computed together
DEFAULT_MAX_EDGES = {'cpu': 300, 'cuda': 40_000}

#: differences of energy below this fraction of the energy are not trusted
ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-4}

Optimizer = Literal['newton', 'bfgs']


@dataclass(frozen=True)
class Relaxation:
    """Where a relaxation ended.

    :param atoms: the relaxed crystal, same order of atoms.
    :param energy: eV.
    :param max_force: largest force component, eV/Å.
    :param stress: shape ``(3, 3)``, GPa.
    :param n_steps: optimiser steps.
    :param max_displacement: largest distance an atom moved, the strain of the cell taken out, Å.
    :param volume_change: relative.
    :param optimiser: which one reached the goal, ``newton`` or ``bfgs``.
    :param n_gradient_evaluations: energies with forces and stress that were computed, all optimisers together.
    :param n_hessian_products: exact products of the Hessian with a vector; one costs about 1.5 gradient evaluations.
    :param fallback: why Newton handed over to BFGS; None if it did not.
    """

    atoms: Atoms
    energy: float
    max_force: float
    stress: np.ndarray
    n_steps: int
    max_displacement: float
    volume_change: float
    spacegroup_before: str
    spacegroup_after: str
    optimiser: Optimizer
    n_gradient_evaluations: int
    n_hessian_products: int
    fallback: str | None


def relax(
    structure: Atoms,
    potential: EnergyModel | str | PathLike[str],
    relax_cell: bool = False,
    fmax: float = DEFAULT_FMAX,
    smax: float = DEFAULT_SMAX,
    steps: int = DEFAULT_STEPS,
    symprec: float = 1e-5,
    optimizer: Optimizer = 'newton',
) -> Relaxation:
    """Relax positions, or cell and positions, under the symmetry of the start.

    :param structure: the crystal; its symmetry is found at ``symprec`` and kept.
    :param potential: a loaded model, or what :func:`~aiida_mlfc.core.potentials.registry.load_potential` takes.
    :param relax_cell: also relax the cell; needs a potential trained on stress.
    :param fmax: largest force component, eV/Å.
    :param smax: largest stress component, GPa; used when the cell is relaxed.
    :param steps: give up after so many.
    :param symprec: Å.
    :param optimizer: ``newton``, or ``bfgs`` of ASE.
    :raises NotConvergedError: after ``steps`` steps, or if the optimiser stops making sense.
    :raises ~aiida_mlfc.core.potentials.validity.OutsideTrainingError: if the crystal lies outside the training set,
        an atom moves farther than the potential was trained on, or the cell may not be relaxed.
    """
    (found,) = relax_many([structure], potential, relax_cell, fmax, smax, steps, symprec, optimizer)
    if isinstance(found, Exception):
        raise found
    return found


def relax_many(
    structures: Sequence[Atoms],
    potential: EnergyModel | str | PathLike[str],
    relax_cell: bool = False,
    fmax: float = DEFAULT_FMAX,
    smax: float = DEFAULT_SMAX,
    steps: int = DEFAULT_STEPS,
    symprec: float = 1e-5,
    optimizer: Optimizer = 'newton',
    max_edges: int | None = None,
) -> list[Relaxation | Exception]:
    """Relax many crystals at once; Newton steps of small ones share batches. Arguments as in :func:`relax`.

    :param max_edges: of the graphs in one batch; by default 300 on a CPU, where only the smallest crystals gain by it
        (20 %, measured), and 40,000 on a GPU.
    :return: for each crystal its relaxation, or the exception that :func:`relax` raises for it.
    """
    # written so that NaN, for which every comparison is false, does not pass
    if not (fmax > 0 and smax > 0 and steps >= 0):
        raise ValueError(f'wanted fmax > 0, smax > 0, steps >= 0, got {fmax}, {smax}, {steps}')
    if optimizer not in ('newton', 'bfgs'):
        raise ValueError(f"optimizer: got {optimizer!r}, wanted 'newton' or 'bfgs'")
    potential = as_potential(potential)
    goal = Goal(fmax, smax if relax_cell else None, steps)
    jobs: list[_Job | Exception] = []
    for structure in structures:
        try:
            jobs.append(_Job(structure, potential, goal, symprec))
        except (ValueError, RuntimeError) as error:
            jobs.append(error)
    good = [job for job in jobs if isinstance(job, _Job)]
    ends: dict[int, Exception | None] = {}
    if optimizer == 'newton':
        limit = max_edges or DEFAULT_MAX_EDGES.get(potential.device.type, DEFAULT_MAX_EDGES['cpu'])
        errors = run_together(potential, [job.search.run() for job in good], limit)
        ends = {id(job): error for job, error in zip(good, errors, strict=True)}
    found: list[Relaxation | Exception] = []
    for job in jobs:
        try:
            found.append(job if isinstance(job, Exception) else job.finished(optimizer, ends.get(id(job))))
        except (ValueError, RuntimeError, MemoryError, ArithmeticError) as error:
            found.append(error)
    return found


class _Job:
    """One crystal with its checks, and both ways of relaxing it."""

    def __init__(self, structure: Atoms, potential: EnergyModel, goal: Goal, symprec: float) -> None:
        self.structure, self.potential, self.goal, self.symprec = structure, potential, goal, symprec
        if goal.smax is not None:
            check_stress_labels(potential.metadata)
        check_environment(structure, potential.metadata, potential.cutoff)
        self.before = spacegroup(structure, symprec)
        start = symmetrized(structure, symprec)
        space = symmetric_space(start, symprec, goal.smax is not None)
        self.search = NewtonSearch(start, space, goal, self.watch, ROUNDING[potential.dtype])

    def watch(self, atoms: Atoms) -> None:
        """Refuse what the potential cannot know."""
        moved = largest_displacement(self.structure, atoms)
        if not math.isfinite(moved):
            raise NotConvergedError('the relaxation ran away: positions are no longer finite')
        check_displacement(moved, self.potential.metadata, 'an atom moved during relaxation', RELAXATION_MARGIN)

    def finished(self, optimizer: Optimizer, error: Exception | None) -> Relaxation:
        """The record; after BFGS, if that was asked for or Newton could not go on.

        :param error: what ended Newton, None if nothing went wrong.
        :raises NotConvergedError: if the goal is not reached.
        """
        fallback = None
        if isinstance(error, (StalledError, SecondDerivativesError)):
            fallback = str(error)
            LOGGER.warning('%s: BFGS takes over, Newton gave up: %s', self.structure.symbols, fallback)
        elif error is not None:
            raise error
        search = self.search
        n_steps, n_evaluations = search.n_steps, search.n_evaluations
        if optimizer == 'bfgs' or fallback is not None:
            goal = replace(self.goal, steps=self.goal.steps - n_steps)
            state, more_steps, more = bfgs(search.atoms, self.potential, goal, self.symprec, self.watch)
            n_steps, n_evaluations, optimizer = n_steps + more_steps, n_evaluations + more, 'bfgs'
        else:
            state = search.end()
        # of no weight for where atoms come to rest, and of all for phonons there
        if self.structure.has('masses'):
            state.atoms.set_masses(self.structure.get_masses())
        self.goal.check(state, n_steps)
        return Relaxation(
            state.atoms,
            state.energy,
            state.max_force,
            state.stress,
            n_steps,
            largest_displacement(self.structure, state.atoms),
            state.atoms.get_volume() / self.structure.get_volume() - 1,
            self.before,
            spacegroup(state.atoms, self.symprec),
            optimizer,
            n_evaluations,
            search.n_products,
            fallback,
        )


def largest_displacement(before: Atoms, after: Atoms) -> float:
    """Largest distance an atom moved relative to the others, strain taken out, Å."""
    scaled = after.get_scaled_positions(wrap=False) - before.get_scaled_positions(wrap=False)
    scaled -= np.rint(scaled)
    scaled -= scaled.mean(axis=0)
    return float(np.linalg.norm(scaled @ np.array(before.cell), axis=1).max())
