"""From what a user passes to checked tensors of one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from torch import Tensor
from torch.nn.functional import one_hot

from aiida_mlfc.core.structures.checks import SMALLEST_VOLUME_PER_ATOM

#: volume of a lattice over the product of its lengths, below which its vectors count as lying in a plane
SINGULAR = 1e-6


@dataclass(frozen=True)
class Batch:
    """Checked inputs of one or many structures, atoms concatenated, one floating dtype.

    :param atom_types: shape ``(n_atoms, n_species)``, columns indexed by atomic number.
    :param positions: shape ``(n_atoms, 3)``, Å.
    :param lattice: shape ``(n_systems, 3, 3)``, Å.
    :param batch_index: structure of each atom, shape ``(n_atoms,)``, int64.
    :param sizes: atoms of each structure.
    """

    atom_types: Tensor
    positions: Tensor
    lattice: Tensor
    batch_index: Tensor
    sizes: list[int]

    def arrays(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Positions and lattice of each structure as float64 arrays, cut from the graph."""
        positions = self.positions.detach().cpu().double().numpy()
        return np.split(positions, np.cumsum(self.sizes[:-1])), list(self.lattice.detach().cpu().double().numpy())


def sizes_to_batch_index(sizes: Tensor | Sequence[int], device: torch.device | str | None = None) -> Tensor:
    """``[2, 3, 1]`` becomes ``[0, 0, 1, 1, 1, 2]``.

    :param sizes: atoms of each structure, shape ``(n_graphs,)``, integers.
    :param device: where the result lives; that of ``sizes`` by default.
    :return: structure of each atom, shape ``(sum sizes,)``, int64.
    :raises ValueError: if a size is negative, fractional, or the shape is wrong.
    """
    sizes = torch.as_tensor(sizes)
    if sizes.dim() != 1 or sizes.is_floating_point() or (sizes < 0).any():
        raise ValueError(f'sizes: got {sizes.tolist()}, wanted a list of non-negative integers, one a structure')
    sizes = sizes.to(sizes.device if device is None else device).long()
    return torch.arange(len(sizes), device=sizes.device).repeat_interleave(sizes)


def batch_index_to_sizes(batch_index: Tensor) -> Tensor:
    """``[0, 0, 1, 1, 1, 2]`` becomes ``[2, 3, 1]``.

    :param batch_index: structure of each atom, shape ``(n_atoms,)``, integers that do not decrease.
    :return: atoms of each structure, shape ``(n_graphs,)``, int64.
    :raises ValueError: if it is not a list of such integers.
    """
    batch_index = torch.as_tensor(batch_index)
    wrong = batch_index.dim() != 1 or batch_index.is_floating_point()
    if wrong or (batch_index < 0).any() or (batch_index[1:] < batch_index[:-1]).any():
        raise ValueError(
            f'batch_index: got {batch_index.tolist()}, wanted non-negative integers that do not decrease: atoms stand '
            'structure by structure'
        )
    return torch.bincount(batch_index.long())


def read_sizes(n_atoms: int, sizes: Tensor | Sequence[int] | None, batch_index: Tensor | None) -> list[int]:
    """Atoms of each structure, from either description or both.

    :raises ValueError: if they contradict each other, leave a structure empty or do not add up to ``n_atoms``.
    """
    if sizes is None and batch_index is None:
        raise ValueError('sizes: got neither sizes nor batch_index, wanted one of them')
    if batch_index is not None:
        found = batch_index_to_sizes(batch_index).tolist()
        if sizes is not None and batch_index_to_sizes(sizes_to_batch_index(sizes)).tolist() != found:
            raise ValueError(f'sizes: got {torch.as_tensor(sizes).tolist()}, but batch_index says {found}')
    else:
        found = torch.as_tensor(sizes).tolist()
        sizes_to_batch_index(sizes)
    name = 'sizes' if batch_index is None else 'batch_index'
    if not found or 0 in found:
        raise ValueError(f'{name}: got sizes {found}, wanted at least one structure and no empty one')
    if sum(found) != n_atoms:
        raise ValueError(f'{name}: got {found}, {sum(found)} atoms in all, wanted {n_atoms}, as in positions')
    return found


def default_tensors(
    atoms_list: Sequence[Atoms], n_species: int, dtype: torch.dtype, device: torch.device | str, with_types: bool = True
) -> tuple[Tensor | None, Tensor, Tensor]:
    """One-hot types, positions and lattices of the structures, concatenated.

    :param with_types: whether types are needed; elements do not matter otherwise.
    :raises ValueError: if a structure is empty, not periodic, or holds an element without a column.
    """
    for k, atoms in enumerate(atoms_list):
        if not isinstance(atoms, Atoms):
            raise TypeError(f'atoms: got {type(atoms).__name__} as structure {k}, wanted ase.Atoms')
        if len(atoms) == 0 or not atoms.pbc.all():
            raise ValueError(
                f'atoms: structure {k} has {len(atoms)} atoms and pbc={atoms.pbc.tolist()}, wanted a crystal with at '
                'least one atom, periodic in three directions'
            )
        if with_types and (atoms.numbers.min() < 1 or atoms.numbers.max() >= n_species):
            raise ValueError(
                f'atoms: structure {k} holds atomic numbers {sorted(set(atoms.numbers.tolist()))}, wanted 1 to '
                f'{n_species - 1}, the elements of MatterSim'
            )
    types = None
    if with_types:
        numbers = torch.as_tensor(np.concatenate([atoms.numbers for atoms in atoms_list]), device=device)
        types = one_hot(numbers.long(), n_species).to(dtype)
    positions = torch.as_tensor(np.concatenate([a.positions for a in atoms_list]), dtype=dtype, device=device)
    lattice = torch.as_tensor(np.stack([np.array(a.cell) for a in atoms_list]), dtype=dtype, device=device)
    return types, positions, lattice


def common_dtype(tensors: Sequence[Tensor | None], default: torch.dtype) -> torch.dtype:
    """float64 if one of the tensors is float64, float32 if one is float32, the default if none is given.

    :raises TypeError: for half precision and complex numbers.
    """
    dtypes = {t.dtype for t in tensors if t is not None and (t.is_floating_point() or t.is_complex())} or {default}
    if not dtypes <= {torch.float32, torch.float64}:
        raise TypeError(f'dtype: got {", ".join(map(str, dtypes))}, wanted torch.float32 or torch.float64')
    return torch.float64 if torch.float64 in dtypes else torch.float32


def check_batch(
    atom_types: Tensor, positions: Tensor, lattice: Tensor, sizes: list[int], n_species: int,
    positions_are_fractional: bool = False,
) -> Batch:
    """The batch, if shapes fit and every number can be computed with.

    :raises ValueError: naming the argument that does not fit.
    """
    n_atoms, n_systems = sum(sizes), len(sizes)
    if 0 in sizes:
        raise ValueError('positions: got no atoms, wanted at least one in each structure')
    if lattice.dim() == 2:
        lattice = lattice[None]
    for name, tensor, shape in (
        ('atom_types', atom_types, (n_atoms, n_species)),
        ('positions', positions, (n_atoms, 3)),
        ('lattice', lattice, (n_systems, 3, 3)),
    ):
        if tuple(tensor.shape) != shape:
            extra = ', columns indexed by atomic number' if name == 'atom_types' else ''
            raise ValueError(f'{name}: got shape {tuple(tensor.shape)}, wanted {shape}{extra}')
        if not bool(torch.isfinite(tensor.detach()).all()):
            raise ValueError(f'{name}: got NaN or infinity, wanted finite numbers')
    cells = lattice.detach().cpu().double().numpy()
    volumes = np.abs(np.linalg.det(cells))
    lengths = np.linalg.norm(cells, axis=2).prod(1)
    bad = (volumes <= SINGULAR * lengths) | (volumes < SMALLEST_VOLUME_PER_ATOM * np.array(sizes))
    if bad.any():
        k = int(bad.argmax())
        raise ValueError(
            f'lattice: structure {k} has a volume of {volumes[k]:.3g} Å³ for {sizes[k]} atoms, wanted at least '
            f'{SMALLEST_VOLUME_PER_ATOM} Å³ an atom and vectors that are not in one plane'
        )
    batch_index = sizes_to_batch_index(sizes, positions.device)
    if positions_are_fractional:
        positions = (positions[:, None] @ lattice.index_select(0, batch_index))[:, 0]
    return Batch(atom_types, positions, lattice, batch_index, sizes)


def read_batch(
    atoms_list: Sequence[Atoms] | None,
    given: Sequence[Tensor | None],
    sizes: list[int],
    n_species: int,
    default_dtype: torch.dtype,
    device: torch.device | str,
    positions_are_fractional: bool = False,
) -> Batch:
    """The checked batch from tensors, and from structures where a tensor is None.

    :param given: atom types, positions and lattice as the user passed them.
    :param default_dtype: where no floating tensor was given.
    :raises ValueError: naming the argument that does not fit.
    :raises TypeError: if one of them is no tensor, or of another dtype.
    """
    for name, tensor in zip(('atom_types', 'positions', 'lattice'), given, strict=True):
        wanted = atoms_list is None or tensor is not None
        if wanted and not isinstance(tensor, Tensor):
            raise TypeError(f'{name}: got {type(tensor).__name__}, wanted a torch.Tensor')
    dtype = common_dtype(given, default_dtype)
    if atoms_list is not None:
        # Positions of an Atoms are Cartesian whatever those of the tensors are.
        positions_are_fractional = positions_are_fractional and given[1] is not None
        defaults = default_tensors(atoms_list, n_species, dtype, device, with_types=given[0] is None)
        given = [d if t is None else t for t, d in zip(given, defaults, strict=True)]
    types, positions, lattice = (t.to(device=device, dtype=dtype) for t in given if t is not None)
    return check_batch(types, positions, lattice, sizes, n_species, positions_are_fractional)
