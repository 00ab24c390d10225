"""Two crystals of different size in one batch: positions, lattices and atom types together. No AiiDA.

python examples/12_mattersim_batch.py

Writes 12_mattersim_batch.html. See 11_mattersim_one_crystal.py for the checkpoint and for CI.
"""

import os

import plotly.graph_objects as go
import torch
from ase.build import bulk
from torch.nn.functional import one_hot

from aiida_mlfc.core.potentials.mattersim.calculator import (
    DifferentiableMatterSimCalculator,
    cart_to_frac,
    frac_to_cart,
)

STEPS = 3 if os.environ.get('CI') else 60

calculator = DifferentiableMatterSimCalculator()
crystals = [bulk('Si', 'diamond', a=5.6), bulk('Al', 'fcc', a=3.9, cubic=True)]
for k, crystal in enumerate(crystals):
    crystal.rattle(0.05, seed=k)
sizes = [len(crystal) for crystal in crystals]

lattices = torch.stack([torch.tensor(crystal.cell.array) for crystal in crystals]).requires_grad_(True)
# Fractional coordinates: a lattice that changes takes its atoms along.
fractional = [cart_to_frac(torch.tensor(crystal.positions), lattices[k].detach()) for k, crystal in enumerate(crystals)]
fractional = [f.requires_grad_(True) for f in fractional]
numbers = torch.cat([torch.tensor(crystal.numbers) for crystal in crystals])
# A few per cent of every species on every site, to be driven out or in.
logits = (8.0 * one_hot(numbers, 95).double()).requires_grad_(True)

optimiser = torch.optim.Adam([
    {'params': fractional, 'lr': 0.002}, {'params': [lattices], 'lr': 0.01}, {'params': [logits], 'lr': 0.05}])
history = []
for _ in range(STEPS):
    optimiser.zero_grad()
    positions = torch.cat([frac_to_cart(f, lattices[k]) for k, f in enumerate(fractional)])
    energies = calculator.predict_from_batch_tensors(torch.softmax(logits, 1), lattices, positions, sizes=sizes)
    energies = energies['total_energy'] / torch.tensor(sizes)
    energies.sum().backward()
    optimiser.step()
    history.append(energies.tolist())

figure = go.Figure(layout={'xaxis_title': 'step', 'yaxis_title': 'energy (eV/atom)', 'template': 'simple_white'})
for k, crystal in enumerate(crystals):
    values = [step[k] for step in history]
    figure.add_scatter(y=values, name=crystal.get_chemical_formula())
    volume = torch.linalg.det(lattices[k].detach()).abs().item() / sizes[k]
    print(f'{crystal.get_chemical_formula():4s} {values[0]:10.5f} -> {values[-1]:10.5f} eV/atom, '
          f'{crystal.get_volume() / sizes[k]:.3f} -> {volume:.3f} Å³/atom')
figure.write_html('12_mattersim_batch.html')
