"""Repulsion of atoms that come nearer than any that were learned.

E = Σ_i<j w(r) k Z_i Z_j / r φ(r / a),   a = 0.8854 a_0 / (Z_i^0.23 + Z_j^0.23),   k = e² / 4πε_0

with the universal screening function φ of Ziegler, Biersack and Littmark (The Stopping and Range of Ions in Solids,
1985). w is 1 up to half of the distance given for a pair of species and 0 beyond it, with four continuous derivatives:
what is learned at larger distances stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from ase.units import Bohr, Hartree
from torch import Tensor, nn

from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph

#: φ: factors and exponents
_SCREENING = ((0.18175, 3.19980), (0.50986, 0.94229), (0.28022, 0.40290), (0.02817, 0.20162))
_LENGTH, _POWER = 0.8854 * Bohr, 0.23
#: eV Å
_COULOMB = Hartree * Bohr
#: w is 1 up to this share of the distance where it ends
INNER = 0.5


class Repulsion(nn.Module):
    """Screened Coulomb repulsion of nuclei at short distances.

    :param species: atomic numbers in the order of the columns of ``graph.atom_types``.
    :param distances: two atomic numbers and where their repulsion ends, Å; pairs left out have none.
    """

    def __init__(self, species: Sequence[int], distances: Sequence[tuple[int, int, float]]) -> None:
        super().__init__()
        # Plain numbers, not buffers: the same model must not depend on a detour through float32.
        self._numbers = [float(z) for z in species]
        self._ends = [[0.0] * len(species) for _ in species]
        column = {z: k for k, z in enumerate(species)}
        for first, second, distance in distances:
            self._ends[column[first]][column[second]] = self._ends[column[second]][column[first]] = distance
        #: where the last of them ends, Å
        self.cutoff = max(max(row) for row in self._ends)

    def forward(self, graph: AtomGraph) -> Tensor:
        """Energies of the atoms, shape ``(n_atoms,)``, eV."""
        lengths = graph.edge_vectors().square().sum(-1).sqrt()
        near = torch.nonzero(lengths.detach() < self.cutoff)[:, 0]
        if not len(near):
            return torch.zeros_like(graph.positions[:, 0])
        graph = graph.within(near)
        weights = graph.centres(graph.atom_types)[:, :, None] * graph.neighbours(graph.atom_types)[:, None]
        return graph.sum_to_centres((weights * self.energies(lengths[near])).sum((1, 2))) / 2

    def energies(self, lengths: Tensor) -> Tensor:
        """Of each pair of species at each distance, shape ``(n, n_species, n_species)``, eV.

        :param lengths: shape ``(n,)``, Å.
        """
        z, ends, r = lengths.new_tensor(self._numbers), lengths.new_tensor(self._ends), lengths[:, None, None]
        reduced = r * (z[:, None] ** _POWER + z**_POWER) / _LENGTH
        screened = torch.zeros_like(reduced)
        for factor, exponent in _SCREENING:
            screened = screened + factor * torch.exp(-exponent * reduced)
        # pairs without a distance must not divide by zero
        x = ((1 - r / ends.where(ends > 0, torch.ones_like(ends))) / (1 - INNER)).clamp(0, 1) * (ends > 0)
        switch = x**5 * (126 - 420 * x + 540 * x**2 - 315 * x**3 + 70 * x**4)
        return _COULOMB * (z[:, None] * z) / r * screened * switch
