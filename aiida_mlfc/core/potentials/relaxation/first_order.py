"""Relaxation by forces and stress alone: ASE's BFGS, its symmetry constraint and its cell filter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ase import Atoms
from ase.constraints import FixSymmetry
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.relaxation.ase_calculator import PotentialCalculator
from aiida_mlfc.core.potentials.relaxation.goal import Goal, State
from aiida_mlfc.core.units import EV_PER_CUBIC_ANGSTROM_IN_GPA

#: longest step, Å
LONGEST_STEP = 0.05


def bfgs(
    atoms: Atoms, model: EnergyModel, goal: Goal, symprec: float, watch: Callable[[Atoms], None]
) -> tuple[State, int, int]:
    """Walk down until the goal is reached or the steps are used up.

    :param atoms: the crystal; cell and positions keep the symmetry that holds within ``symprec``.
    :param goal: without ``smax`` the cell stays.
    :param watch: called with the crystal after every step; what it raises ends the relaxation.
    :return: where it stopped, the number of steps, and of energies with forces and stress.
    """
    relaxed = atoms.copy()
    calculator = relaxed.calc = PotentialCalculator(model)
    relax_cell = goal.smax is not None
    relaxed.set_constraint(FixSymmetry(relaxed, symprec=symprec, adjust_cell=relax_cell))
    fmax = goal.fmax
    if goal.smax is not None:
        # The filter mixes forces and stress times volume per atom: its target is the stricter of the two.
        fmax = min(fmax, goal.smax / EV_PER_CUBIC_ANGSTROM_IN_GPA * relaxed.get_volume() / len(relaxed))
    optimiser = BFGS(FrechetCellFilter(relaxed) if relax_cell else relaxed, logfile=None, maxstep=LONGEST_STEP)
    for _ in optimiser.irun(fmax=fmax, steps=goal.steps):
        watch(relaxed)
    # What the potential says, not its symmetric part: what breaks the symmetry is an error that has to be seen.
    forces = relaxed.get_forces(apply_constraint=False)
    stress = relaxed.get_stress(voigt=False, apply_constraint=False) * EV_PER_CUBIC_ANGSTROM_IN_GPA
    end = Atoms(numbers=relaxed.numbers, positions=relaxed.positions, cell=relaxed.cell, pbc=True)
    state = State(end, float(relaxed.get_potential_energy()), float(np.abs(forces).max()), stress)
    return state, optimiser.nsteps, calculator.n_evaluations
