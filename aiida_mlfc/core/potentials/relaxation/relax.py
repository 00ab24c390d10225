"""Relaxation that keeps the space group, by ASE's optimisers, its symmetry constraint and its cell filter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.constraints import FixSymmetry
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from aiida_mlfc.core.potentials.derivatives.energy_derivatives import energy_forces_stress
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.validity import check_displacement, check_environment, check_stress_labels
from aiida_mlfc.core.structures.symmetry import spacegroup, symmetrized
from aiida_mlfc.core.units import EV_PER_CUBIC_ANGSTROM_IN_GPA

#: largest force component at the end, eV/Å
DEFAULT_FMAX = 1e-5
#: largest stress component at the end, GPa
DEFAULT_SMAX = 1e-2
DEFAULT_STEPS = 500


class NotConvergedError(RuntimeError):
    """The optimiser stopped before forces and stress were small enough."""


class PotentialCalculator(Calculator):
    """An EnergyModel as an ASE calculator, in eV, eV/Å and eV/Å³."""

    implemented_properties = ['energy', 'forces', 'stress', 'free_energy']

    def __init__(self, model: EnergyModel) -> None:
        super().__init__()
        self.model = model

    def calculate(self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """Energy, forces and stress of ``atoms`` at once."""
        super().calculate(atoms, properties, system_changes)
        graph = build_graph(self.atoms, self.model.cutoff, self.model.species, self.model.dtype, self.model.device)
        energy, forces, stress = energy_forces_stress(self.model, graph)
        voigt = stress[0].flatten()[[0, 4, 8, 5, 2, 1]].cpu().numpy().astype(float) / EV_PER_CUBIC_ANGSTROM_IN_GPA
        self.results = {
            'energy': float(energy[0]),
            'free_energy': float(energy[0]),
            'forces': forces.cpu().numpy().astype(float),
            'stress': voigt,
        }


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


def relax(
    structure: Atoms,
    potential: EnergyModel,
    relax_cell: bool = False,
    fmax: float = DEFAULT_FMAX,
    smax: float = DEFAULT_SMAX,
    steps: int = DEFAULT_STEPS,
    symprec: float = 1e-5,
) -> Relaxation:
    """Relax positions, or cell and positions, under the symmetry of the start.

    :param structure: the crystal; its symmetry is found at ``symprec`` and kept.
    :param relax_cell: also relax the cell; needs a potential trained on stress.
    :param fmax: largest force component, eV/Å.
    :param smax: largest stress component, GPa; used when the cell is relaxed.
    :param steps: give up after so many.
    :param symprec: Å.
    :raises NotConvergedError: after ``steps`` steps, or if the optimiser stops making sense.
    :raises ~aiida_mlfc.core.potentials.validity.OutsideTrainingError: if the crystal lies outside the training set,
        an atom moves farther than the potential was trained on, or the cell may not be relaxed.
    """
    if fmax <= 0 or smax <= 0 or steps < 0:
        raise ValueError(f'wanted fmax > 0, smax > 0, steps >= 0, got {fmax}, {smax}, {steps}')
    if relax_cell:
        check_stress_labels(potential.metadata)
    check_environment(structure, potential.metadata, potential.cutoff)
    before = spacegroup(structure, symprec)
    atoms = symmetrized(structure, symprec)
    atoms.calc = PotentialCalculator(potential)
    atoms.set_constraint(FixSymmetry(atoms, symprec=symprec, adjust_cell=relax_cell))
    # The filter mixes forces and stress times volume per atom: its target is the stricter of the two.
    stress_as_force = smax / EV_PER_CUBIC_ANGSTROM_IN_GPA * atoms.get_volume() / len(atoms)
    target = FrechetCellFilter(atoms) if relax_cell else atoms
    optimiser = BFGS(target, logfile=None, maxstep=0.05)
    n_steps = 0
    for _ in optimiser.irun(fmax=min(fmax, stress_as_force) if relax_cell else fmax, steps=steps):
        n_steps = optimiser.nsteps
        moved = _displacement(structure, atoms)
        if not math.isfinite(moved):
            raise NotConvergedError('the relaxation ran away: positions are no longer finite')
        check_displacement(moved, potential.metadata, 'an atom moved during relaxation')
    max_force = float(np.abs(atoms.get_forces()).max())
    stress = atoms.get_stress(voigt=False) * EV_PER_CUBIC_ANGSTROM_IN_GPA
    if max_force > fmax or (relax_cell and np.abs(stress).max() > smax):
        raise NotConvergedError(
            f'after {n_steps} steps the largest force is {max_force:.2e} eV/Å (wanted {fmax:.0e})'
            + (f' and stress {np.abs(stress).max():.2e} GPa (wanted {smax:.0e})' if relax_cell else '')
        )
    energy = float(atoms.get_potential_energy())
    relaxed = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
    return Relaxation(
        relaxed,
        energy,
        max_force,
        stress,
        n_steps,
        _displacement(structure, relaxed),
        relaxed.get_volume() / structure.get_volume() - 1,
        before,
        spacegroup(relaxed, symprec),
    )


def _displacement(before: Atoms, after: Atoms) -> float:
    """Largest distance an atom moved relative to the others, strain taken out, Å."""
    scaled = after.get_scaled_positions(wrap=False) - before.get_scaled_positions(wrap=False)
    scaled -= np.rint(scaled)
    scaled -= scaled.mean(axis=0)
    return float(np.linalg.norm(scaled @ np.array(before.cell), axis=1).max())
