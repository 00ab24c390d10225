"""From a crystal to its AtomGraph: neighbour indices by vesin, vectors left to torch."""

from __future__ import annotations

import numpy as np
import torch
from ase import Atoms
from vesin import NeighborList

from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.structures.checks import check_cell, check_distances, check_species


def one_hot_types(numbers: np.ndarray, species: tuple[int, ...]) -> np.ndarray:
    """One-hot species weights.

    :param numbers: atomic numbers, shape ``(n_atoms,)``.
    :param species: atomic numbers the model knows, in its order.
    :return: shape ``(n_atoms, n_species)``, float64.
    :raises ~aiida_mlfc.core.structures.checks.UnknownSpeciesError: if an element is not among ``species``.
    """
    check_species(numbers, species)
    column = {z: k for k, z in enumerate(species)}
    return np.eye(len(species))[[column[int(z)] for z in numbers]]


def build_graph(
    atoms: Atoms,
    cutoff: float,
    species: tuple[int, ...],
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = 'cpu',
) -> AtomGraph:
    """All directed edges within ``cutoff``, every periodic image, self images included.

    :param atoms: the crystal; periodic in all three directions.
    :param cutoff: radius in Å.
    :param species: atomic numbers the model knows, in its order.
    :raises ~aiida_mlfc.core.structures.checks.UnknownSpeciesError: if an element is not among ``species``.
    :raises ~aiida_mlfc.core.structures.checks.StructureError: if the cell has no volume or two atoms share a site.
    """
    types = one_hot_types(atoms.numbers, species)
    check_cell(atoms)
    search = NeighborList(cutoff=cutoff, full_list=True)
    i, j, shifts, distances = search.compute(
        points=atoms.positions, box=np.array(atoms.cell), periodic=True, quantities='ijSd'
    )
    check_distances(atoms, i, j, distances)
    # A fixed order of edges makes sums, and so results, reproducible bit for bit.
    order = np.lexsort((shifts[:, 2], shifts[:, 1], shifts[:, 0], j, i))
    edge_index = torch.from_numpy(np.stack([i, j])[:, order].astype(np.int64)).to(device)
    real = {'dtype': dtype, 'device': device}
    return AtomGraph(
        positions=torch.as_tensor(atoms.positions, **real),
        cell=torch.as_tensor(np.array(atoms.cell)[None], **real),
        atom_types=torch.as_tensor(types, **real),
        batch=torch.zeros(len(atoms), dtype=torch.int64, device=device),
        edge_index=edge_index,
        edge_cell_shifts=torch.as_tensor(shifts[order].astype(np.float64), **real),
    )
