"""An ASE calculator for crystals far from what a potential learned."""

from ase.calculators.calculator import Calculator, all_changes

from aiida_mlfc.core.potentials.derivatives.energy_derivatives import energy_forces
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph


class Unchecked(Calculator):
    """The energy as it is: the calculator of the package refuses crystals so far from what was learned."""

    implemented_properties = ['energy', 'forces']

    def __init__(self, model):
        super().__init__()
        self.model = model

    def calculate(self, atoms=None, properties=(), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        energy, forces = energy_forces(self.model, build_graph(atoms, self.model.cutoff, self.model.species))
        self.results = {'energy': float(energy.detach().sum()), 'forces': forces.detach().numpy()}
