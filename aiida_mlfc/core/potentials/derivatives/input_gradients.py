"""The gradient of an energy with respect to everything that goes into it: positions, lattice, atom types."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.units import EV_PER_CUBIC_ANGSTROM_IN_GPA


@dataclass(frozen=True)
class InputGradients:
    """Energies, and their partial derivatives: two of positions, lattice and types are held, the third varies.

    :param graph: where they were taken.
    :param energy: shape ``(n_systems,)``, eV.
    :param positions: dE/dx at fixed lattice, shape ``(n_atoms, 3)``, eV/Å.
    :param lattice: dE/dA of the rows of the cell at fixed Cartesian positions, shape ``(n_systems, 3, 3)``, eV/Å. At
        fixed fractional positions s it is ``lattice + s.T @ positions``.
    :param atom_types: dE/dw of the species weights as they stand in the model, not normalised, shape
        ``(n_atoms, n_species)``, eV.
    """

    graph: AtomGraph
    energy: Tensor
    positions: Tensor
    lattice: Tensor
    atom_types: Tensor

    def stress(self) -> Tensor:
        """(1/V) dE/dε, shape ``(n_systems, 3, 3)``, GPa, tensile positive; see ``energy_forces_stress``.

        A strain moves atoms and lattice: dE/dε_αβ = Σ_i x_iα dE/dx_iβ + Σ_k A_kα dE/dA_kβ.
        """
        of_atoms = self.graph.sum_to_systems(self.graph.positions[:, :, None] * self.positions[:, None, :])
        virial = of_atoms + self.graph.cell.mT @ self.lattice
        stress = virial / self.graph.volumes()[:, None, None] * EV_PER_CUBIC_ANGSTROM_IN_GPA
        # Rotational invariance makes the virial symmetric; averaging removes the rounding.
        return (stress + stress.mT) / 2


def input_gradients(model: EnergyModel, graph: AtomGraph) -> InputGradients:
    """All first derivatives by one backward pass; nothing of the result is differentiable further.

    :param graph: one or many systems; its edges are kept while positions and lattice vary.
    """
    names = ('positions', 'cell', 'atom_types')
    leaves = {name: getattr(graph, name).detach().requires_grad_(True) for name in names}
    with torch.enable_grad():
        energy = model(replace(graph, **leaves))
        gradients = torch.autograd.grad(energy.sum(), list(leaves.values()))
    held = replace(graph, **{name: leaf.detach() for name, leaf in leaves.items()})
    return InputGradients(held, energy.detach(), *gradients)
