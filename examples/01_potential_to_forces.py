"""A potential, a crystal, its energy, forces and stress. No AiiDA.

python examples/01_potential_to_forces.py
"""

from ase.build import bulk

from aiida_mlfc import load_potential
from aiida_mlfc.core.potentials.relaxation.relax import PotentialCalculator

potential = load_potential('dx-demo')
print(f'{potential.metadata["name"]}: {potential.metadata["description"]}')

crystal = bulk('NaCl', 'rocksalt', 5.64, cubic=True)
crystal.positions[0] += [0.02, 0.0, 0.0]
crystal.calc = PotentialCalculator(potential)

print(f'energy          {crystal.get_potential_energy():10.6f} eV')
print(f'force on atom 0 {crystal.get_forces()[0].round(6)} eV/Å')
print(f'stress xx       {crystal.get_stress()[0]:10.6f} eV/Å³')
