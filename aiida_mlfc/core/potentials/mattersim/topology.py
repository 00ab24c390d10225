"""Which pairs of atoms are edges: fixed, or following the structure with a skin.

A list holds all pairs up to cutoff + skin in a reference structure. After a deformation 1 + ε of the lattice and
remaining displacements u of the atoms, a pair that the list lacks is at least σ_min(1 + ε)(cutoff + skin) - 2 max|u|
long: while that is no less than the cutoff, the list is complete. The edges handed out are those within the cutoff now,
so energies do not know when a list was made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from vesin import NeighborList

#: Å; larger: fewer searches, more pairs to measure at each step
DEFAULT_SKIN = 0.5
#: two atoms closer than this (Å) are one: no direction can be given to their edge
COINCIDENT = 0.01


def find_edges(positions: np.ndarray, cell: np.ndarray, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    """All directed edges within ``cutoff``, every periodic image, self images included, in a fixed order.

    :param positions: shape ``(n_atoms, 3)``, Å.
    :param cell: shape ``(3, 3)``, Å.
    :return: centre and neighbour ``(2, n_edges)``, int64, and cell shifts ``(n_edges, 3)``.
    :raises ValueError: if two atoms share a site.
    """
    search = NeighborList(cutoff=cutoff, full_list=True)
    i, j, shifts, distances = search.compute(points=positions, box=cell, periodic=True, quantities='ijSd')
    if distances.size and distances.min() < COINCIDENT:
        k = int(distances.argmin())
        raise ValueError(
            f'positions: atoms {i[k]} and {j[k]} are {distances[k]:.2g} Å apart, wanted at least {COINCIDENT} Å'
        )
    order = np.lexsort((shifts[:, 2], shifts[:, 1], shifts[:, 0], j, i))
    return np.stack([i, j])[:, order].astype(np.int64), shifts[order].astype(float)


@dataclass(frozen=True)
class VerletList:
    """The pairs of one structure within cutoff + skin, and the structure for which they were found.

    :param positions: reference positions, shape ``(n_atoms, 3)``, Å.
    :param cell: reference lattice vectors, shape ``(3, 3)``, Å.
    """

    positions: np.ndarray
    cell: np.ndarray
    cutoff: float
    skin: float
    edge_index: np.ndarray
    edge_cell_shifts: np.ndarray

    @classmethod
    def of(cls, positions: np.ndarray, cell: np.ndarray, cutoff: float, skin: float) -> VerletList:
        edge_index, shifts = find_edges(positions, cell, cutoff + skin)
        return cls(positions.copy(), cell.copy(), cutoff, skin, edge_index, shifts)

    def is_reference(self, positions: np.ndarray, cell: np.ndarray) -> bool:
        """Whether this is exactly the structure the list was made for."""
        return np.array_equal(self.positions, positions) and np.array_equal(self.cell, cell)

    def covers(self, positions: np.ndarray, cell: np.ndarray) -> bool:
        """Whether every pair within the cutoff of this structure is certainly in the list."""
        if positions.shape != self.positions.shape:
            return False
        deformation = np.linalg.solve(self.cell, cell)
        displacements = positions - self.positions @ deformation
        displacements -= displacements.mean(0)
        largest = np.sqrt((displacements**2).sum(1).max())
        smallest_stretch = np.linalg.svd(deformation, compute_uv=False).min()
        return bool(smallest_stretch * (self.cutoff + self.skin) - 2 * largest >= self.cutoff)


class Topology:
    """The lists of the structures of a batch, each rebuilt only when it must be.

    :param cutoff: Å.
    :param skin: Å.
    :param follow: the lists follow the structures; otherwise they stay those of reference structures, without a skin.
    """

    def __init__(self, cutoff: float, skin: float = DEFAULT_SKIN, follow: bool = True) -> None:
        if skin < 0:
            raise ValueError(f'skin: got {skin} Å, wanted zero or more')
        self.cutoff, self.follow = cutoff, follow
        self.skin = skin if follow else 0.0
        #: neighbour searches made so far
        self.n_searches = 0
        self._lists: list[VerletList] = []
        self._joined: tuple[Tensor, Tensor] | None = None

    def update(
        self,
        positions: Sequence[np.ndarray],
        cells: Sequence[np.ndarray],
        device: torch.device | str,
        keep: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Pairs of all structures, atoms numbered through the batch; those beyond the cutoff are still among them.

        :param positions: one array ``(n_atoms, 3)`` a structure, Å.
        :param cells: one array ``(3, 3)`` a structure, Å.
        :param keep: where lists do not follow, take the structures first seen with these sizes as the references,
            and not the ones passed now.
        :return: centre and neighbour ``(2, n_edges)``, and cell shifts ``(n_edges, 3)``, float64.
        """
        sizes = [len(p) for p in positions]
        lists: list[VerletList] = []
        same_sizes = sizes == [len(known.positions) for known in self._lists]
        for k, (points, cell) in enumerate(zip(positions, cells, strict=True)):
            known = self._lists[k] if k < len(self._lists) else None
            if known is None:
                lists.append(self._search(points, cell))
                continue
            if self.follow:
                usable = known.covers(points, cell)
            else:
                usable = same_sizes if keep else known.is_reference(points, cell)
            lists.append(known if usable else self._search(points, cell))
        unchanged = len(lists) == len(self._lists) and all(a is b for a, b in zip(lists, self._lists, strict=True))
        if self._joined is None or not unchanged:
            starts = np.cumsum([0, *sizes[:-1]])
            edge_index = np.concatenate([x.edge_index + start for x, start in zip(lists, starts, strict=True)], axis=1)
            shifts = np.concatenate([x.edge_cell_shifts for x in lists])
            self._joined = (torch.from_numpy(edge_index).to(device), torch.from_numpy(shifts).to(device))
            self._lists = lists
        return self._joined

    def _search(self, positions: np.ndarray, cell: np.ndarray) -> VerletList:
        self.n_searches += 1
        return VerletList.of(positions, cell, self.cutoff, self.skin)
