"""AtomGraph: one or many periodic systems as tensors, and the only doors between atoms.

Direction of an edge, stated once:
``edge_vectors = positions[edge_index[1]] - positions[edge_index[0]] + edge_cell_shifts @ cell``.
``edge_index[0]`` is the centre that owns the edge, ``edge_index[1]`` its neighbour.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class AtomGraph:
    """One or many systems, atoms concatenated.

    :param positions: Cartesian positions, shape ``(n_atoms, 3)``, Å.
    :param cell: lattice vectors as rows, shape ``(n_systems, 3, 3)``, Å.
    :param atom_types: one-hot (or soft) species weights in the model's order, shape ``(n_atoms, n_species)``.
    :param batch: system of each atom, shape ``(n_atoms,)``, int64.
    :param edge_index: centre and neighbour of each directed edge, shape ``(2, n_edges)``, int64.
    :param edge_cell_shifts: lattice vectors that each edge crosses, shape ``(n_edges, 3)``, integers in the
        floating dtype of ``cell``.
    """

    positions: Tensor
    cell: Tensor
    atom_types: Tensor
    batch: Tensor
    edge_index: Tensor
    edge_cell_shifts: Tensor

    @property
    def n_atoms(self) -> int:
        return self.positions.shape[0]

    @property
    def n_edges(self) -> int:
        return self.edge_index.shape[1]

    @property
    def n_systems(self) -> int:
        return self.cell.shape[0]

    def neighbours(self, x: Tensor) -> Tensor:
        """Value of ``x`` on the neighbour of each edge, shape ``(n_edges, ...)``.

        Everything that an atom learns from another crosses here, and nowhere else.
        """
        return x.index_select(0, self.edge_index[1])

    def centres(self, x: Tensor) -> Tensor:
        """Value of ``x`` on the centre of each edge, shape ``(n_edges, ...)``."""
        return x.index_select(0, self.edge_index[0])

    def sum_to_centres(self, x: Tensor) -> Tensor:
        """Sum of an edge quantity over the edges of each centre, shape ``(n_atoms, ...)``."""
        return x.new_zeros((self.n_atoms, *x.shape[1:])).index_add(0, self.edge_index[0], x)

    def sum_to_systems(self, x: Tensor) -> Tensor:
        """Sum of an atom quantity over the atoms of each system, shape ``(n_systems, ...)``."""
        if self.n_systems == 1:
            return x.sum(0, keepdim=True)
        return x.new_zeros((self.n_systems, *x.shape[1:])).index_add(0, self.batch, x)

    def edge_vectors(self) -> Tensor:
        """Vectors from centre to neighbour image, shape ``(n_edges, 3)``, Å; differentiable to every order."""
        if self.n_systems == 1:
            offsets = self.edge_cell_shifts @ self.cell[0]
        else:
            cells = self.cell.index_select(0, self.centres(self.batch))
            offsets = (self.edge_cell_shifts[:, None, :] @ cells)[:, 0]
        return self.neighbours(self.positions) - self.centres(self.positions) + offsets

    def volumes(self) -> Tensor:
        """Cell volumes, shape ``(n_systems,)``, Å³."""
        return torch.linalg.det(self.cell).abs()

    def strained(self, strain: Tensor) -> AtomGraph:
        """The graph after ``x -> x (1 + strain)`` of positions and cells.

        :param strain: shape ``(n_systems, 3, 3)``, dimensionless.
        """
        deformation = torch.eye(3, dtype=strain.dtype, device=strain.device) + strain
        if self.n_systems == 1:
            # Inductor (torch 2.13) fails on the scatter into a single system that the gather below turns into.
            positions = self.positions @ deformation[0]
        else:
            positions = (self.positions[:, None, :] @ deformation.index_select(0, self.batch))[:, 0]
        return replace(self, positions=positions, cell=self.cell @ deformation)

    def within(self, edges: Tensor) -> AtomGraph:
        """The same atoms with some of the edges.

        :param edges: which, shape ``(n,)``, int64.
        """
        return replace(self, edge_index=self.edge_index[:, edges], edge_cell_shifts=self.edge_cell_shifts[edges])

    def with_positions(self, positions: Tensor) -> AtomGraph:
        """The same edges with other positions, shape ``(n_atoms, 3)``, Å."""
        return replace(self, positions=positions)

    def copies(self, positions: Tensor) -> AtomGraph:
        """One system as many, with the same edges and positions of their own, shape ``(n_copies, n_atoms, 3)``, Å."""
        n = len(positions)
        start = self.n_atoms * torch.arange(n, device=positions.device)
        return AtomGraph(
            positions=positions.flatten(0, 1),
            cell=self.cell.expand(n, 3, 3),
            atom_types=self.atom_types.repeat(n, 1),
            batch=torch.arange(n, device=positions.device).repeat_interleave(self.n_atoms),
            edge_index=(self.edge_index[:, None] + start[:, None]).flatten(1),
            edge_cell_shifts=self.edge_cell_shifts.repeat(n, 1),
        )

    def to(self, dtype: torch.dtype, device: torch.device | str | None = None) -> AtomGraph:
        """Floating tensors cast to ``dtype``, everything moved to ``device``."""
        device = self.positions.device if device is None else device
        cast = {
            name: getattr(self, name).to(device=device, dtype=dtype)
            for name in ('positions', 'cell', 'atom_types', 'edge_cell_shifts')
        }
        return AtomGraph(batch=self.batch.to(device), edge_index=self.edge_index.to(device), **cast)
