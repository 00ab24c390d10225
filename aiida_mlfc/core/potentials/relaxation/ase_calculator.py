"""An EnergyModel as an ASE calculator."""

from __future__ import annotations

from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from aiida_mlfc.core.potentials.derivatives.energy_derivatives import energy_forces_stress
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.units import EV_PER_CUBIC_ANGSTROM_IN_GPA


class PotentialCalculator(Calculator):
    """Energy, forces and stress in eV, eV/Å and eV/Å³; ``n_evaluations`` counts how often they were computed."""

    implemented_properties = ['energy', 'forces', 'stress', 'free_energy']

    def __init__(self, model: EnergyModel) -> None:
        super().__init__()
        self.model = model
        self.n_evaluations = 0

    def calculate(self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """Energy, forces and stress of ``atoms`` at once."""
        super().calculate(atoms, properties, system_changes)
        self.n_evaluations += 1
        graph = build_graph(self.atoms, self.model.cutoff, self.model.species, self.model.dtype, self.model.device)
        energy, forces, stress = energy_forces_stress(self.model, graph)
        voigt = stress[0].flatten()[[0, 4, 8, 5, 2, 1]].cpu().numpy().astype(float) / EV_PER_CUBIC_ANGSTROM_IN_GPA
        self.results = {
            'energy': float(energy[0]),
            'free_energy': float(energy[0]),
            'forces': forces.cpu().numpy().astype(float),
            'stress': voigt,
        }
