"""Coulomb energy of smeared latent charges: the part of a crystal's energy that no neighbourhood holds.

Force constants of polar crystals fall off like 1/r³: at 4 Å and beyond, half or more of them are those of dipoles. A
network that reads neighbours learns them badly; one number for each species says them. The charges are latent: fitted
to forces like any weight, near Z*/√ε∞ (Born effective charge, electronic dielectric constant), and never observed.
After Cheng, npj Comput. Mater. 11, 80 (2025), with charges that depend on species alone; so that all derivatives are
closed expressions, at any wave vector, too.

E = (2π k / V) Σ_{G≠0} e^{-s²G²}/G² |Σ_i q_i e^{iG·r_i}|² - k/(2 s √π) Σ_i q_i², k = e²/(4πε0): pairs interact by
k q q' erf(r / 2s) / r, as Gaussian charges of width s do; what is missing at short distances is left to the network.
The mean charge of each crystal is taken off: cells are neutral.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.units import COULOMB_EV_ANGSTROM

#: reciprocal vectors are left out where e^{-s²G²} is below e^-LARGEST_EXPONENT, 1e-15
LARGEST_EXPONENT = 34.5
#: elementary charges
NO_CHARGE = 1e-6


class LatentCharges(nn.Module):
    """Charges of species, and what follows from them.

    :param n_species: columns of ``graph.atom_types``.
    :param width: s, standard deviation of each charge's Gaussian, Å.
    """

    def __init__(self, n_species: int, width: float) -> None:
        super().__init__()
        self.width = width
        #: shape ``(n_species,)``, elementary charges; only differences have a meaning. Not zero at the start: the
        #: energy is of second order in them, and zeros would stay.
        self.charges = nn.Parameter(0.1 * torch.randn(n_species))
        #: where they are from, for the card
        self.origin = 'learned with the weights'

    def give(self, charges: np.ndarray, origin: str) -> None:
        """Take charges that are known; they are not learned then."""
        self.charges.requires_grad_(False).copy_(torch.as_tensor(charges))
        self.origin = origin

    def forward(self, graph: AtomGraph) -> Tensor:
        """Energies, shape ``(n_systems,)``, eV."""
        charges = self.atomic_charges(graph)
        if graph.n_systems == 1:
            return self._energy(graph.positions, graph.cell[0], charges)[None]
        atoms = torch.bincount(graph.batch, minlength=graph.n_systems).tolist()
        parts = zip(graph.positions.split(atoms), graph.cell.unbind(), charges.split(atoms), strict=True)
        return torch.stack([self._energy(*part) for part in parts])

    def atomic_charges(self, graph: AtomGraph) -> Tensor:
        """Charges of the atoms, neutral in every system; shape ``(n_atoms,)``."""
        charges = graph.atom_types @ self.charges
        n_atoms = graph.sum_to_systems(torch.ones_like(charges))
        return charges - (graph.sum_to_systems(charges) / n_atoms)[graph.batch]

    def nac_params(self, graph: AtomGraph) -> dict[str, Any] | None:
        """What phonopy's non-analytical correction needs to interpolate the dipoles of this energy.

        Latent charges hold screening in themselves: they stand for Z*/√ε∞, isotropic, with a dielectric constant of 1.

        :param graph: a primitive cell.
        :return: ``born``, ``dielectric``, ``factor``; None where no atom has a charge.
        """
        charges = self.atomic_charges(graph).detach().cpu().to(torch.float64).numpy()
        if np.abs(charges).max() < NO_CHARGE:
            return None
        born = charges[:, None, None] * np.eye(3)
        return {'born': born, 'dielectric': np.eye(3), 'factor': COULOMB_EV_ANGSTROM}

    def bloch_products(self, graph: AtomGraph, qpoints: Tensor, fields: Tensor) -> Tensor:
        """Φ(q) v for pairs of q and v, of this energy alone; parameters and result as of
        :meth:`~aiida_mlfc.core.potentials.derivatives.qspace.BlochForceConstants.products`.
        """
        distinct, number = torch.unique(qpoints, dim=0, return_inverse=True)
        at_rest = self._at(graph, torch.zeros_like(distinct[0]))
        n = graph.n_atoms
        # every lattice sum at q = 0, moved to the diagonal: a rigid shift costs nothing
        own = torch.block_diag(*at_rest.view(n, 3, n, 3).sum(2))
        matrices = torch.stack([self._at(graph, q) - own for q in distinct])
        return torch.einsum('fij,fj->fi', matrices[number], fields.to(matrices.dtype))

    def _energy(self, positions: Tensor, cell: Tensor, charges: Tensor) -> Tensor:
        indices = half_reciprocal_vectors(cell, math.sqrt(LARGEST_EXPONENT) / self.width)
        waves = _reciprocal(cell, indices)
        phases = waves @ positions.T
        structure_factors = (phases.cos() @ charges).square() + (phases.sin() @ charges).square()
        self_energy = COULOMB_EV_ANGSTROM / (2 * self.width * math.sqrt(math.pi)) * charges.square().sum()
        # G and -G alike: twice the half
        return (self._kernel(waves) * structure_factors).sum() / torch.linalg.det(cell).abs() - self_energy

    def _kernel(self, waves: Tensor) -> Tensor:
        """4π k e^{-s²K²} / K², shape ``(n_waves,)``, eV Å³."""
        squares = waves.square().sum(1)
        return 4 * math.pi * COULOMB_EV_ANGSTROM * torch.exp(-(self.width**2) * squares) / squares

    def _at(self, graph: AtomGraph, qpoint: Tensor) -> Tensor:
        """q_i q_j / V Σ_{K=G+q≠0} kernel(K) K_α K_β e^{iK·(r_i - r_j)}, shape ``(3 n, 3 n)``, complex, eV/Å².

        Wave vectors reach around q, so that Φ(q + G) = Φ(q) to rounding.
        """
        cell, charges = graph.cell[0], self.atomic_charges(graph)
        # Φ(q) wants phases of lattice vectors alone: q within the first zone in reduced coordinates is as good as any
        q = (qpoint - qpoint.round()).to(cell.dtype)
        reach = math.sqrt(LARGEST_EXPONENT) / self.width
        farthest = float(_reciprocal(cell.detach(), torch.eye(3).to(cell)).norm(dim=1).sum()) / 2
        half = half_reciprocal_vectors(cell, reach + farthest)
        indices = torch.cat((half, torch.zeros_like(half[:1]), -half)) + q
        waves = _reciprocal(cell, indices[(indices != 0).any(1)])
        weights = self._kernel(waves) / torch.linalg.det(cell).abs()
        phases = waves @ graph.positions.T
        carried = torch.polar(torch.ones_like(phases), -phases)
        rows = (charges * carried)[:, :, None] * waves[:, None, :]
        rows = rows.flatten(1)
        return rows.mH @ (weights[:, None] * rows)


def half_reciprocal_vectors(cell: Tensor, reach: float) -> Tensor:
    """Reduced coordinates of the reciprocal vectors G ≠ 0 with \\|G\\| < reach, one of each pair ±G.

    Which they are is decided once for a cell and not differentiated: at the edge their share is below rounding.

    :param cell: lattice vectors as rows, shape ``(3, 3)``, Å.
    :param reach: 1/Å, 2π included.
    :return: shape ``(n, 3)``, in the floating type of ``cell``.
    """
    lattice = cell.detach().to('cpu', torch.float64).numpy()
    largest = np.floor(reach * np.linalg.norm(lattice, axis=1) / (2 * np.pi)).astype(int)
    ranges = [np.arange(-n, n + 1) for n in largest]
    ranges[0] = ranges[0][largest[0] :]
    indices = np.stack(np.meshgrid(*ranges, indexing='ij'), -1).reshape(-1, 3)
    first, second, third = indices.T
    indices = indices[(first > 0) | (second > 0) & (first == 0) | (third > 0) & (second == 0) & (first == 0)]
    lengths = np.linalg.norm(indices @ np.linalg.inv(lattice).T, axis=1) * 2 * np.pi
    return torch.as_tensor(indices[lengths < reach], dtype=cell.dtype, device=cell.device)


def _reciprocal(cell: Tensor, reduced: Tensor) -> Tensor:
    """Cartesian wave vectors, 1/Å, 2π included."""
    return 2 * math.pi * reduced @ torch.linalg.inv(cell).T
