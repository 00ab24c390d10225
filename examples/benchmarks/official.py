"""The official MatterSim package as its users run it: ASE calculator, phonopy's finite displacements, PhononWorkflow.

Run by :mod:`sides` with the Python that has it; imports nothing of ours.
"""

from __future__ import annotations

import sys
import tempfile

import numpy as np
import torch
from ase import Atoms
from mattersim.applications.phonon import PhononWorkflow
from mattersim.forcefield import MatterSimCalculator
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms
from side_loop import Laps, Measured, Result, serve

#: Å, phonopy's default
DISTANCE = 0.01


def read(crystal: str) -> Atoms:
    """The crystal that was sent."""
    with np.load(crystal) as file:
        return Atoms(file['numbers'], positions=file['positions'], cell=file['cell'], pbc=True)


def without_stress() -> MatterSimCalculator:
    """The calculator without stress, which displaced cells do not need: the faster peer."""
    CALCULATOR.compute_stress = False
    return CALCULATOR


def warm_up(atoms: Atoms) -> None:
    """One call that is not measured."""
    CALCULATOR.calculate(atoms, ['energy', 'forces'])


def energy_forces(crystal: str, supercell: list[int]) -> Measured:
    """One evaluation of the supercell, graph included."""
    unitcell = read(crystal)
    atoms, calculator = unitcell * supercell, without_stress()
    warm_up(unitcell)

    def run() -> Result:
        calculator.calculate(atoms, ['energy', 'forces'])
        return {'arrays': {'forces': calculator.results['forces']}}

    return run


def finite_displacements(crystal: str, supercell: list[int]) -> Measured:
    """phonopy's defaults: 0.01 Å, plus-minus where symmetry does not relate them, compact force constants."""
    unitcell, calculator = read(crystal), without_stress()
    warm_up(unitcell)

    def run() -> Result:
        calculator.reset()  # ASE would hand out what it remembers of the same atoms
        laps = Laps()
        cell = PhonopyAtoms(numbers=unitcell.numbers, positions=unitcell.positions, cell=np.array(unitcell.cell))
        phonon = Phonopy(cell, np.diag(supercell), primitive_matrix='auto', log_level=0)
        phonon.generate_displacements(distance=DISTANCE)
        displaced = phonon.supercells_with_displacements
        laps.lap('search')
        forces = []
        for entry in displaced:
            atoms = Atoms(entry.numbers, positions=entry.positions, cell=entry.cell, pbc=True)
            atoms.calc = calculator
            forces.append(atoms.get_forces())
        phonon.forces = np.array(forces)
        phonon.produce_force_constants(calculate_full_force_constants=False)
        laps.lap('alone')
        return {
            'seconds': laps.seconds,
            'arrays': {'force_constants': phonon.force_constants},
            'facts': {'n_displacements': len(displaced)},
        }

    return run


def workflow(crystal: str, supercell: list[int]) -> Measured:
    """mattersim's own PhononWorkflow as it comes (with stress), bands and DOS left out."""
    unitcell = read(crystal)
    warm_up(unitcell)
    CALCULATOR.compute_stress = True
    unitcell.calc = CALCULATOR

    def run() -> Result:
        CALCULATOR.reset()
        with tempfile.TemporaryDirectory() as folder:
            found = PhononWorkflow(
                unitcell, work_dir=folder, supercell_matrix=np.array(supercell), calc_spec=False
            ).run()[1]
        rows = found.force_constants
        if len(rows) != len(found.primitive):
            rows = rows[found.primitive.p2s_map]
        return {'arrays': {'force_constants': rows}}

    return run


if __name__ == '__main__':
    torch.set_num_threads(1)
    CALCULATOR = MatterSimCalculator.from_checkpoint(sys.argv[1], device='cpu')
    serve({'energy_forces': energy_forces, 'finite_displacements': finite_displacements, 'workflow': workflow})
