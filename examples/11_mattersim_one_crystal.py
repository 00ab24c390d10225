"""Positions, lattice and atom types of one crystal, optimised by the gradients of MatterSim's energy. No AiiDA.

python examples/11_mattersim_one_crystal.py

Writes 11_mattersim_one_crystal.html. The checkpoint is the published 1M model, or the file that
MLFC_MATTERSIM_CHECKPOINT names. With CI set in the environment only a few steps are made.
"""

import os

import plotly.graph_objects as go
import torch
from ase.build import bulk

from aiida_mlfc.core.potentials.mattersim.calculator import DifferentiableMatterSimCalculator

STEPS = 3 if os.environ.get('CI') else 60
#: the species that may share a site, by atomic number
SPECIES = torch.tensor([6, 14, 32])

calculator = DifferentiableMatterSimCalculator()
crystal = bulk('Si', 'diamond', a=5.6)
crystal.rattle(0.1, seed=0)


def atom_types(logits):
    """Weights of all 95 species from logits of the few that take part."""
    return torch.zeros(len(logits), 95, dtype=logits.dtype).index_copy(1, SPECIES, torch.softmax(logits, dim=1))


def optimise(name, rate):
    """Energies (eV/atom) along a gradient descent in one of the three inputs."""
    inputs = {
        'positions': torch.tensor(crystal.positions),
        'lattice': torch.tensor(crystal.cell.array),
        'logits': torch.tensor([[0.0, 3.0, 0.0]] * len(crystal), dtype=torch.float64),
    }
    inputs[name].requires_grad_(True)
    optimiser = torch.optim.Adam([inputs[name]], lr=rate)
    energies = []
    for _ in range(STEPS):
        optimiser.zero_grad()
        energy = calculator.predict_from_tensors(atom_types(inputs['logits']), inputs['lattice'], inputs['positions'])
        energy = energy['total_energy'] / len(crystal)
        energy.backward()
        optimiser.step()
        energies.append(energy.item())
    return energies, inputs


figure = go.Figure(layout={'xaxis_title': 'step', 'yaxis_title': 'energy (eV/atom)', 'template': 'simple_white'})
for name, rate in (('positions', 0.01), ('lattice', 0.01), ('logits', 0.1)):
    energies, inputs = optimise(name, rate)
    figure.add_scatter(y=energies, name='atom types' if name == 'logits' else name)
    print(f'{name:10s} {energies[0]:10.5f} -> {energies[-1]:10.5f} eV/atom')
print('weights of C, Si, Ge on the first site:', torch.softmax(inputs['logits'][0], 0).detach().numpy().round(3))
figure.write_html('11_mattersim_one_crystal.html')
