"""Energies of a batch of crystals with first derivatives, and exact products with the second ones on request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.graphs.batching import concatenate
from aiida_mlfc.core.potentials.interface import EnergyModel

#: displacements ``(n_atoms, 3)`` in Å and a strain ``(3, 3)``, or derivatives with respect to them
Fields = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class FirstOrder:
    """Energy and gradient of one crystal.

    :param energy: eV.
    :param of_positions: dE/dx, shape ``(n_atoms, 3)``, eV/Å.
    :param of_strain: dE/dε of ``x -> x (1 + ε)``, shape ``(3, 3)``, eV.
    """

    energy: float
    of_positions: np.ndarray
    of_strain: np.ndarray


class Expansion:
    """Second-order expansion of the energies of many crystals at once; the Hessian is block diagonal.

    :param graphs: one of each crystal.
    :param products: whether products will be asked for; without, nothing is kept.
    """

    def __init__(self, model: EnergyModel, graphs: Sequence[AtomGraph], products: bool = True) -> None:
        graph = concatenate(graphs)
        self._sizes = [g.n_atoms for g in graphs]
        positions = graph.positions.detach().requires_grad_(True)
        strain = torch.zeros_like(graph.cell, requires_grad=True)
        self._inputs = (positions, strain)
        with torch.enable_grad():
            energy = model(graph.with_positions(positions).strained(strain))
            self._gradient = torch.autograd.grad(energy.sum(), self._inputs, create_graph=products)
        self._energy = energy.detach().cpu().numpy().astype(float)

    def first_order(self) -> list[FirstOrder]:
        """Energy and gradient of each crystal."""
        fields = self._split(*(x.detach() for x in self._gradient))
        return [FirstOrder(float(e), *f) for e, f in zip(self._energy, fields, strict=True)]

    def products(self, vectors: Sequence[Fields | None]) -> list[Fields]:
        """The Hessian of each crystal times one vector of its own; zero for a crystal that gives None.

        :param vectors: displacements and strain of each crystal.
        :return: change of dE/dx and of dE/dε along the vector.
        """
        blocks = [
            (np.zeros((n, 3)), np.zeros((3, 3))) if v is None else v for n, v in zip(self._sizes, vectors, strict=True)
        ]
        along = [np.concatenate([b[0] for b in blocks]), np.stack([b[1] for b in blocks])]
        seeds = [torch.as_tensor(v, dtype=x.dtype, device=x.device) for v, x in zip(along, self._inputs, strict=True)]
        found = torch.autograd.grad(self._gradient, self._inputs, grad_outputs=seeds, retain_graph=True)
        return self._split(*found)

    def _split(self, of_positions: torch.Tensor, of_strain: torch.Tensor) -> list[Fields]:
        ends = np.cumsum(self._sizes)[:-1]
        blocks = np.split(of_positions.cpu().numpy().astype(float), ends)
        return list(zip(blocks, of_strain.cpu().numpy().astype(float), strict=True))
