"""DifferentiableMatterSimCalculator: energy, forces and stress as functions of positions, lattice and atom types.

Everything a user of it needs is importable from here.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from os import PathLike
from typing import Any

import torch
from ase import Atoms
from torch import Tensor
from torch.nn.functional import one_hot

from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.mattersim.ase_face import AseFace
from aiida_mlfc.core.potentials.mattersim.energy_gradients import Compiled, by_slices, energy_gradients, within_cutoff
from aiida_mlfc.core.potentials.mattersim.geometry import (
    cart_to_frac,
    compute_distance_pbc,
    frac_to_cart,
    lattice_params_to_matrix,
    wrap_to_unit_cell,
)
from aiida_mlfc.core.potentials.mattersim.graph_builder import DifferentiableGraphBuilder
from aiida_mlfc.core.potentials.mattersim.inputs import (
    Batch,
    batch_index_to_sizes,
    read_batch,
    read_sizes,
    sizes_to_batch_index,
)
from aiida_mlfc.core.potentials.mattersim.model import M3GNet
from aiida_mlfc.core.potentials.mattersim.sources import read_potential
from aiida_mlfc.core.potentials.mattersim.topology import DEFAULT_SKIN, Topology
from aiida_mlfc.core.units import EV_PER_CUBIC_ANGSTROM_IN_GPA

__all__ = [
    'DifferentiableGraphBuilder', 'DifferentiableMatterSimCalculator', 'batch_index_to_sizes', 'cart_to_frac',
    'compute_distance_pbc', 'frac_to_cart', 'lattice_params_to_matrix', 'sizes_to_batch_index', 'wrap_to_unit_cell',
]

#: largest difference between the cutoff asked for and that of the checkpoint, Å
CUTOFF_TOLERANCE = 1e-6
Result = dict[str, Tensor]


class DifferentiableMatterSimCalculator(AseFace):
    """MatterSim with exact derivatives of every order, for one structure or a batch; also an ASE calculator.

    Results are ``total_energy`` in eV, shape ``()`` for one structure and ``(n_graphs,)`` for a batch, ``forces``
    ``(sum N_i, 3)`` in eV/Å, ``stresses`` ``(n_graphs, 3, 3)`` in GPa, ASE's sign. Tensors keep their dtype, the widest
    where they differ; from structures alone the dtype is ``dtype``, or torch's default.

    :param potential: path of an official checkpoint, one of the published names, a loaded model, or None: the file in
        ``MLFC_MATTERSIM_CHECKPOINT``, or else the published 1M model.
    :param device: where to compute.
    :param twobody_cutoff: must be the checkpoint's, Å.
    :param threebody_cutoff: must be the checkpoint's, Å.
    :param topology: ``'auto'``: edges follow the positions and the lattice. ``'fixed'``: edges are those of ``atoms``
        (of the first tensors, where no ``atoms`` are passed), until :meth:`reset_topology`.
    :param skin: how far beyond the cutoff pairs are kept, so that few steps need a new search, Å.
    :param compile: compile the function that gives energy, forces and stress; a warning says when that is not possible.
        It costs minutes at the first calls, and serves where no input asks for a gradient: relaxation, dynamics,
        screening. A string names another backend of ``torch.compile``.
    :param dtype: of results computed from structures alone.
    """

    def __init__(
        self,
        potential: str | PathLike[str] | torch.nn.Module | Any | None = None,
        device: torch.device | str = 'cpu',
        twobody_cutoff: float = 5.0,
        threebody_cutoff: float = 4.0,
        topology: str = 'auto',
        skin: float = DEFAULT_SKIN,
        compile: bool | str = False,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if topology not in ('auto', 'fixed'):
            raise ValueError(f"topology: got {topology!r}, wanted 'auto' or 'fixed'")
        self.device, self.topology, self.skin, self.dtype = torch.device(device), topology, skin, dtype
        model = read_potential(potential, self.device)
        for name, got, wanted in (
            ('twobody_cutoff', twobody_cutoff, model.config.cutoff),
            ('threebody_cutoff', threebody_cutoff, model.config.threebody_cutoff),
        ):
            if abs(got - wanted) > CUTOFF_TOLERANCE:
                raise ValueError(f'{name}: got {got} Å, wanted {wanted} Å: the checkpoint fixes it')
        self.twobody_cutoff, self.threebody_cutoff = twobody_cutoff, threebody_cutoff
        self._models: dict[torch.dtype, M3GNet] = {model.dtype: model}
        self._compiled = Compiled(compile) if compile else None
        self.reset_topology()

    @property
    def potential(self) -> M3GNet:
        """The loaded model."""
        return next(iter(self._models.values()))

    @property
    def n_searches(self) -> int:
        """Neighbour searches made since the start or :meth:`reset_topology`."""
        return self._single.n_searches + self._many.n_searches

    def reset_topology(self) -> None:
        """Forget all edges; the next call finds them anew."""
        follow = self.topology == 'auto'
        self._single = Topology(self.twobody_cutoff, self.skin, follow)
        self._many = Topology(self.twobody_cutoff, self.skin, follow)

    def model(self, dtype: torch.dtype) -> M3GNet:
        """The model in float32 or float64; the stored weights are float32, so both hold the same numbers."""
        if dtype not in self._models:
            self._models[dtype] = copy.deepcopy(self.potential).to(dtype).requires_grad_(False)
        return self._models[dtype]

    def forward(
        self,
        atoms: Atoms,
        atom_types: Tensor | None = None,
        positions: Tensor | None = None,
        lattice: Tensor | None = None,
        include_forces: bool = False,
        include_stresses: bool = False,
        return_forces: bool | None = None,
        return_stress: bool | None = None,
        create_graph_forces: bool = False,
        create_graph_stress: bool = False,
        soft_normalize: bool = False,
        positions_are_fractional: bool = False,
    ) -> Result:
        """Energy, and forces and stress if asked for, of one structure.

        :param atoms: the crystal; it gives what the tensors below leave out, and the edges of a fixed topology.
        :param atom_types: weights of the species, columns indexed by atomic number, shape ``(n_atoms, 95)``.
        :param positions: Cartesian, Å, or in units of the lattice vectors, shape ``(n_atoms, 3)``.
        :param lattice: rows, shape ``(3, 3)`` or ``(1, 3, 3)``, Å.
        :param return_forces: like ``include_forces``, and stronger.
        :param return_stress: like ``include_stresses``, and stronger.
        :param create_graph_forces: keep the results differentiable, for losses on forces.
        :param create_graph_stress: the same for losses on stress.
        :param soft_normalize: let the types act (and be differentiated) in the normaliser too, and not only in the
            embedding; without it the normaliser takes the heaviest species. For one-hot types both agree.
        :param positions_are_fractional: how ``positions`` are to be read.
        """
        batch = self._batch([atoms], (atom_types, positions, lattice), [len(atoms)], positions_are_fractional)
        edges = self._edges(self._single, batch, [atoms])
        want = _wanted(include_forces, include_stresses, return_forces, return_stress)
        result = self._evaluate(batch, edges, *want, create_graph_forces or create_graph_stress, soft_normalize)
        result['total_energy'] = result['total_energy'][0]
        return result

    def forward_batch(
        self,
        atoms_list: Sequence[Atoms],
        atom_types: Tensor | None = None,
        positions: Tensor | None = None,
        lattice: Tensor | None = None,
        batch_index: Tensor | None = None,
        sizes: Tensor | Sequence[int] | None = None,
        include_forces: bool = False,
        include_stresses: bool = False,
        return_forces: bool | None = None,
        return_stress: bool | None = None,
        create_graph_forces: bool = False,
        create_graph_stress: bool = False,
        soft_normalize: bool = True,
        positions_are_fractional: bool = False,
    ) -> Result:
        """The same for many structures at once, atoms concatenated in their order; see :meth:`forward`.

        :param lattice: shape ``(n_graphs, 3, 3)``, Å.
        :param batch_index: structure of each atom, shape ``(sum N_i,)``; not needed.
        :param sizes: atoms of each structure, shape ``(n_graphs,)``; not needed.
        """
        atoms_list = list(atoms_list)
        if not atoms_list:
            raise ValueError('atoms_list: got an empty list, wanted at least one structure')
        own = [len(atoms) for atoms in atoms_list]
        if (sizes is not None or batch_index is not None) and read_sizes(sum(own), sizes, batch_index) != own:
            raise ValueError(f'sizes: got sizes or batch_index that differ from those of atoms_list, {own}')
        batch = self._batch(atoms_list, (atom_types, positions, lattice), own, positions_are_fractional)
        edges = self._edges(self._many, batch, atoms_list)
        want = _wanted(include_forces, include_stresses, return_forces, return_stress)
        return self._evaluate(batch, edges, *want, create_graph_forces or create_graph_stress, soft_normalize)

    def predict_from_tensors(
        self,
        atom_types: Tensor,
        lattice: Tensor,
        positions: Tensor,
        return_energy: bool = True,
        return_forces: bool = False,
        return_stress: bool = False,
        create_graph_forces: bool = False,
        create_graph_stress: bool = False,
        soft_normalize: bool = True,
        positions_are_fractional: bool = False,
    ) -> Result:
        """One structure from tensors alone; see :meth:`forward`."""
        batch = self._batch(None, (atom_types, positions, lattice), [len(positions)], positions_are_fractional)
        edges = self._edges(self._single, batch, None)
        create_graph = create_graph_forces or create_graph_stress
        result = self._evaluate(batch, edges, return_forces, return_stress, create_graph, soft_normalize)
        energy = result.pop('total_energy')[0]
        return {'total_energy': energy, **result} if return_energy else result

    def predict_from_batch_tensors(
        self,
        batch_atom_types: Tensor,
        lattice: Tensor,
        positions: Tensor,
        batch_index: Tensor | None = None,
        sizes: Tensor | Sequence[int] | None = None,
        return_energy: bool = True,
        return_forces: bool = False,
        return_stress: bool = False,
        create_graph_forces: bool = False,
        create_graph_stress: bool = False,
        soft_normalize: bool = True,
        positions_are_fractional: bool = False,
    ) -> Result:
        """Many structures from tensors alone; see :meth:`forward_batch`; it needs ``batch_index`` or ``sizes``."""
        counts = read_sizes(len(positions), sizes, batch_index)
        batch = self._batch(None, (batch_atom_types, positions, lattice), counts, positions_are_fractional)
        edges = self._edges(self._many, batch, None)
        create_graph = create_graph_forces or create_graph_stress
        result = self._evaluate(batch, edges, return_forces, return_stress, create_graph, soft_normalize)
        if not return_energy:
            del result['total_energy']
        return result

    def in_float64(self, atoms: Atoms, forces: bool, stress: bool) -> Result:
        """What ASE needs; see :class:`AseFace`."""
        # One tensor fixes the dtype of all.
        lattice = torch.as_tensor(atoms.cell.array, dtype=torch.float64)
        return self.forward(atoms, lattice=lattice, return_forces=forces, return_stress=stress)

    def _batch(
        self, atoms_list: Sequence[Atoms] | None, given: Sequence[Tensor | None], sizes: list[int], fractional: bool
    ) -> Batch:
        default = self.dtype or torch.get_default_dtype()
        return read_batch(atoms_list, given, sizes, len(self.potential.species), default, self.device, fractional)

    def _edges(self, topology: Topology, batch: Batch, atoms_list: Sequence[Atoms] | None) -> tuple[Tensor, Tensor]:
        if topology.follow or atoms_list is None:
            return topology.update(*batch.arrays(), self.device, keep=True)
        return topology.update([a.positions for a in atoms_list], [a.cell.array for a in atoms_list], self.device)

    def _evaluate(
        self, batch: Batch, edges: tuple[Tensor, Tensor], forces: bool, stress: bool, create_graph: bool, soft: bool
    ) -> Result:
        model = self.model(batch.positions.dtype)
        edge_index, shifts = edges
        graph = AtomGraph(
            batch.positions, batch.lattice, batch.atom_types, batch.batch_index, edge_index, shifts.to(model.dtype)
        )
        graph = within_cutoff(graph, model.cutoff)
        types = None
        if not soft:
            heaviest = graph.atom_types.detach().argmax(1)
            types = one_hot(heaviest, graph.atom_types.shape[1]).to(model.dtype)
        # The compiled function has no second derivative and no graph behind its energy.
        differentiable = create_graph or (torch.is_grad_enabled() and any(
            t.requires_grad for t in (graph.positions, graph.cell, graph.atom_types, *model.parameters())
        ))
        if self._compiled is not None and not differentiable and (forces or stress):
            energy, gradient, virial = self._compiled(model, graph, types)
        elif differentiable:
            energy, gradient, virial = energy_gradients(
                model, graph, types, forces, stress, create_graph, keep_energy=True
            )
        else:
            energy, gradient, virial = by_slices(model, graph, types, forces, stress)
        result = {'total_energy': energy}
        if forces and gradient is not None:
            result['forces'] = -gradient
        if stress and virial is not None:
            result['stresses'] = virial / graph.volumes()[:, None, None] * EV_PER_CUBIC_ANGSTROM_IN_GPA
            if not create_graph:
                result['stresses'] = result['stresses'].detach()
        return result


def _wanted(
    include_forces: bool, include_stresses: bool, return_forces: bool | None, return_stress: bool | None
) -> tuple[bool, bool]:
    return (
        include_forces if return_forces is None else return_forces,
        include_stresses if return_stress is None else return_stress,
    )
