"""A crystal with double wells known in closed form: simple cubic, springs between neighbours that soften and harden.

V(r) = (-α/2 x² + β/4 x⁴) w(x) for the first shell, x = r - a, and k/2 y² w(y) for the second, y = r - √2 a, with a
window w that is 1 near each shell and 0 at the other. In a wave u (-1)^n along x of the planes n, each atom has a bond
a + 2u and one a - 2u, and with its second neighbours in the planes beside it four of √((a + 2u)² + a²) and four of
√((a - 2u)² + a²); a wave of opposite sign on all neighbours has the former and bonds √(a² + 4u²) across, and leaves the
second shell, which is of its own sign, at rest.
"""

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.interface import EnergyModel

LATTICE = 3.0
WINDOW = 0.45


def simple_cubic() -> Atoms:
    return Atoms('Al', positions=[[0, 0, 0]], cell=[LATTICE] * 3, pbc=True)


class DoubleWellBonds(EnergyModel):
    """See above; α in eV/Å², β in eV/Å⁴, k in eV/Å²."""

    def __init__(self, softening: float = 2.0, hardening: float = 25.0, second: float = 0.5) -> None:
        super().__init__()
        self.species, self.cutoff = (13,), 4.9
        self.n_message_layers, self.interaction_range = 1, self.cutoff
        self.metadata = {}
        self.softening, self.hardening, self.second = softening, hardening, second
        self.anchor = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))

    def bond(self, r):
        """V(r), of a torch or a numpy array, eV."""
        exp = torch.exp if isinstance(r, Tensor) else np.exp
        x, y = r - LATTICE, r - np.sqrt(2) * LATTICE
        first = (-self.softening / 2 * x**2 + self.hardening / 4 * x**4) * exp(-((x / WINDOW) ** 8))
        return first + self.second / 2 * y**2 * exp(-((y / WINDOW) ** 8))

    def forward(self, graph: AtomGraph) -> Tensor:
        distances = graph.edge_vectors().square().sum(-1).sqrt()
        return graph.sum_to_systems(graph.sum_to_centres(self.anchor * self.bond(distances) / 2))

    def planes(self, u: float) -> float:
        """Energy per atom of planes that move by ±u in turn (q = X), relative to rest, eV."""
        long, short = LATTICE + 2 * u, LATTICE - 2 * u
        first = self.bond(np.array([long, short])).sum() / 2
        second = self.bond(np.hypot([long, short], LATTICE)).sum() * 4 / 2
        return float(first + second - 4 * self.bond(np.array(np.sqrt(2) * LATTICE)))

    def all_neighbours(self, u: float) -> float:
        """Energy per atom where every neighbour moves the other way along x (q = R), relative to rest, eV."""
        along = self.bond(np.array([LATTICE + 2 * u, LATTICE - 2 * u])).sum() / 2
        return float(along + 4 / 2 * self.bond(np.hypot(LATTICE, 2 * u)))
