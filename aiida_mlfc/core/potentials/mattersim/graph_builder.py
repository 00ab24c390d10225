"""DifferentiableGraphBuilder: a fixed topology, edge vectors and lengths as functions of positions and lattice.

The dictionary it returns speaks MatterSim's language: vectors point from the neighbour to the centre,
``x_i - (x_j + S lattice)``, the opposite of an AtomGraph; names are MatterSim's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from aiida_mlfc.core.potentials.graphs.triplets import find_triplets
from aiida_mlfc.core.potentials.mattersim.topology import Topology


class DifferentiableGraphBuilder:
    """Edges and triplets of a structure or a batch, found once.

    :param initial_atoms: the crystal, or a list of crystals, whose pairs and triplets are kept.
    :param twobody_cutoff: radius of edges, Å.
    :param threebody_cutoff: radius of both edges of a triplet, Å.
    :param device: where tensors live.
    """

    def __init__(
        self,
        initial_atoms: Atoms | Sequence[Atoms],
        twobody_cutoff: float = 5.0,
        threebody_cutoff: float = 4.0,
        device: torch.device | str = 'cpu',
    ) -> None:
        if not 0 < threebody_cutoff <= twobody_cutoff:
            raise ValueError(
                f'threebody_cutoff: got {threebody_cutoff} Å with twobody_cutoff = {twobody_cutoff} Å, wanted a '
                'positive radius no larger than that'
            )
        self.twobody_cutoff, self.threebody_cutoff, self.device = twobody_cutoff, threebody_cutoff, device
        self.is_batch = not isinstance(initial_atoms, Atoms)
        atoms_list = [initial_atoms] if isinstance(initial_atoms, Atoms) else list(initial_atoms)
        if not atoms_list:
            raise ValueError('initial_atoms: got an empty list, wanted at least one crystal')
        self.sizes = [len(atoms) for atoms in atoms_list]
        self.num_graphs = len(atoms_list)
        positions, cells = [a.positions for a in atoms_list], [np.array(a.cell) for a in atoms_list]
        topology = Topology(twobody_cutoff, follow=False)
        self.edge_index, self.pbc_offsets = topology.update(positions, cells, device)
        self._batch = torch.arange(self.num_graphs, device=device).repeat_interleave(
            torch.as_tensor(self.sizes, device=device)
        )
        start = torch.as_tensor(np.concatenate(positions), device=device)
        _, lengths = self._edges(start, torch.as_tensor(np.stack(cells), device=device), self._batch)
        self.three_body_indices = find_triplets(self.edge_index[0], lengths, threebody_cutoff)
        self.num_bonds = self.edge_index.shape[1]
        self.num_three_body = self.three_body_indices.shape[0]
        self.num_triple_ij = torch.bincount(self.three_body_indices[:, 0], minlength=self.num_bonds)[:, None]

    def _edges(self, positions: Tensor, cell: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        cells = cell.index_select(0, batch.index_select(0, self.edge_index[0]))
        images = (self.pbc_offsets.to(cell.dtype)[:, None] @ cells)[:, 0]
        centres, neighbours = (positions.index_select(0, index) for index in self.edge_index)
        vectors = centres - (neighbours + images)
        return vectors, vectors.square().sum(-1).sqrt()

    def forward(
        self, atom_pos: Tensor, cell: Tensor, num_atoms: int | None = None, batch_index: Tensor | None = None
    ) -> dict[str, Any]:
        """The graph of displaced atoms in a deformed lattice, with the pairs of the initial structure.

        :param atom_pos: shape ``(n_atoms, 3)``, Å.
        :param cell: shape ``(3, 3)`` or ``(n_graphs, 3, 3)``, Å.
        :param num_atoms: number of atoms, checked if given.
        :param batch_index: structure of each atom, shape ``(n_atoms,)``; that of the initial structures by default.
        :return: ``edge_index`` (2, n_edges), ``pbc_offsets`` (n_edges, 3), ``edge_vector`` (n_edges, 3) in Å,
            ``edge_length`` (n_edges,) in Å, ``three_body_indices`` (n_triplets, 2) edge by edge, ``num_triple_ij``
            (n_edges, 1), ``num_three_body``, ``num_bonds``.
        """
        cell = cell[None] if cell.dim() == 2 else cell
        n_atoms = sum(self.sizes) if num_atoms is None else num_atoms
        if tuple(atom_pos.shape) != (sum(self.sizes), 3) or n_atoms != sum(self.sizes):
            raise ValueError(
                f'atom_pos: got shape {tuple(atom_pos.shape)}, num_atoms {num_atoms}, wanted ({sum(self.sizes)}, 3)'
            )
        if tuple(cell.shape) != (self.num_graphs, 3, 3):
            raise ValueError(f'cell: got shape {tuple(cell.shape)}, wanted ({self.num_graphs}, 3, 3)')
        vectors, lengths = self._edges(atom_pos, cell, self._batch if batch_index is None else batch_index)
        return {
            'edge_index': self.edge_index,
            'edge_vector': vectors,
            'edge_length': lengths,
            'pbc_offsets': self.pbc_offsets.to(cell.dtype),
            'three_body_indices': self.three_body_indices,
            'num_three_body': self.num_three_body,
            'num_triple_ij': self.num_triple_ij,
            'num_bonds': self.num_bonds,
        }

    __call__ = forward
