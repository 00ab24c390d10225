"""Force constants of Bloch waves, exact at any q, from the primitive cell's graph alone: no supercell, no truncation.

Φ(q) has the elements Σ_S Φ(i α 0; j β S) exp(2πi q·S): its product with a field is the second backward pass of the
energy with that field, phases at the door between atoms (:mod:`.phased_gather`). Energy and first backward are the same
for every q and every field; they are computed once, and only the second backward is batched. Which fields suffice is
the business of :mod:`aiida_mlfc.core.structures.little_group`.

It rests on the rule that atoms learn from each other through ``graph.neighbours`` alone. A model that breaks the rule
gives another Hermitian matrix, which nothing here can notice: comparison with a supercell at a commensurate q does.

Cost, M3GNet with 128 channels, Si with 2 atoms, float64, one CPU thread: one q (6 columns, two lanes) takes 0.84 of
energy and forces of 64 atoms with the same model.

Atoms may feel forces. A Coulomb energy (:mod:`aiida_mlfc.core.potentials.long_range`) crosses no door; its own Φ(q) is
added. LO-TO splitting of other potentials is added by whoever has the charges.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aiida_mlfc.core.potentials.derivatives.hermitian import check_hermitian
from aiida_mlfc.core.potentials.derivatives.memory import SHARE_OF_FREE_MEMORY, free_memory
from aiida_mlfc.core.potentials.derivatives.phased_gather import BlochGraph
from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.structures.little_group import Stars, find_stars
from aiida_mlfc.core.structures.operations import Operations, identity

#: Memory that a batch of products may take where the caller sets no limit, bytes. Time per product is flat from four
#: at once on (M3GNet with 128 channels, silicon, CPU), so that more memory buys little.
BATCH_MEMORY = 2 * 2**30
#: Re and Im
N_LANES = 2


class BlochForceConstants:
    """Energy and first backward of one crystal, kept; products of Φ(q) on demand.

    :param model: any :class:`EnergyModel`.
    :param graph: the cell whose atoms and lattice give Φ(q) its meaning: one system. Where its positions require a
        gradient they may depend on something else, a strain, and Φ(q) can be differentiated with respect to that.
    :raises ValueError: if the graph holds several systems.
    """

    def __init__(self, model: EnergyModel, graph: AtomGraph) -> None:
        if graph.n_systems != 1:
            raise ValueError(f'graph: got {graph.n_systems} systems, wanted one crystal')
        if not graph.positions.requires_grad:
            graph = graph.with_positions(graph.positions.detach().requires_grad_(True))
        self._graph = BlochGraph.of(graph)
        saved: dict[int, int] = {}

        def weigh(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(weigh, lambda tensor: tensor):
            energy = model.local_energy(self._graph).sum()
            (self._gradient,) = torch.autograd.grad(energy, self._graph.positions, create_graph=True)
        self._long_range = model.long_range
        self._far_gradient = torch.zeros_like(self._gradient)
        if self._long_range is not None:
            with torch.enable_grad():
                far = self._long_range(self._graph).sum()
                (self._far_gradient,) = torch.autograd.grad(far, self._graph.positions, retain_graph=True)
        for tensor in (*model.parameters(), *model.buffers()):
            saved.pop(tensor.untyped_storage().data_ptr(), None)
        #: What both passes keep for the second backward, bytes. A lane needs no more than a cotangent for each of
        #: these: 0.5 of it at the peak, measured with M3GNet.
        self.bytes_of_lane = sum(saved.values())

    @property
    def n_coordinates(self) -> int:
        """Three for each atom."""
        return self._gradient.numel()

    @property
    def gradient(self) -> Tensor:
        """dE/dx at rest, shape ``(n_atoms, 3)``, eV/Å."""
        return self._gradient.detach() + self._far_gradient

    @property
    def nac_params(self) -> dict[str, Any] | None:
        """Of the charges that the potential itself has, in phonopy's form; None if it has none."""
        return None if self._long_range is None else self._long_range.nac_params(self._graph)

    def products(self, qpoints: Tensor, fields: Tensor, create_graph: bool = False) -> Tensor:
        """Φ(q) v for pairs of q and v, in one backward pass.

        Half the work where all q equal -q up to a reciprocal lattice vector and all fields are real: phases and Φ(q)
        are real there.

        :param qpoints: reduced coordinates, shape ``(n_fields, 3)``.
        :param fields: v, shape ``(n_fields, 3 n_atoms)``, real or complex.
        :param create_graph: keep the result differentiable.
        :return: shape ``(n_fields, 3 n_atoms)``, complex, eV/Å².
        """
        is_real = not fields.is_complex() and bool(has_real_phases(qpoints).all())
        imaginary = fields.imag if fields.is_complex() else torch.zeros_like(fields)
        lanes = (fields,) if is_real else (fields.real, imaginary)
        cotangents = torch.stack(lanes, 1).to(self._gradient.dtype)

        def second_backward(field: Tensor) -> Tensor:
            return torch.autograd.grad(
                self._gradient, self._graph.positions, field, retain_graph=True, create_graph=create_graph
            )[0]

        with torch.enable_grad(), self._graph.state.phased(qpoints):
            products = torch.vmap(second_backward)(cotangents.view(-1, *self._gradient.shape))
        real, *others = products.reshape(len(fields), len(lanes), -1).unbind(1)
        near = torch.complex(real, others[0] if others else torch.zeros_like(real))
        if self._long_range is None:
            return near
        with torch.set_grad_enabled(create_graph):
            return near + self._long_range.bloch_products(self._graph, qpoints, fields)

    def matrix(self, qpoint: Tensor, create_graph: bool = False) -> Tensor:
        """Φ(q) of one q, as :func:`bloch_force_constants` has it; ``(3 n_atoms, 3 n_atoms)``, complex, eV/Å²."""
        units = torch.eye(self.n_coordinates, dtype=self._gradient.dtype, device=qpoint.device)
        return self.products(qpoint.expand(self.n_coordinates, 3), units, create_graph).T

    @property
    def default_memory(self) -> float:
        """Bytes that a batch may take unless the caller says otherwise: a share of what is free, and not too much."""
        return min(BATCH_MEMORY, SHARE_OF_FREE_MEMORY * free_memory(self._gradient.device))

    def batch_size(self, max_memory: float | None = None) -> int:
        """Number of products that are computed at once: those that fit, at least one.

        :param max_memory: bytes; :attr:`default_memory` if None.
        """
        memory = self.default_memory if max_memory is None else max_memory
        return max(1, int(memory // (N_LANES * max(self.bytes_of_lane, 1))))


def has_real_phases(qpoints: Tensor) -> Tensor:
    """Whether exp(2πi q·S) is ±1 for every lattice vector, shape ``(n_q,)``."""
    return (2 * qpoints == (2 * qpoints).round()).all(1)


def bloch_force_constants(
    model: EnergyModel,
    graph: AtomGraph,
    qpoints: np.ndarray,
    max_memory: float | None = None,
    progress: Callable[[int, int], None] | None = None,
    operations: Operations | None = None,
) -> np.ndarray:
    """Φ(q)_iα,jβ = Σ_S Φ(i α 0; j β S) exp(2πi q·S), as it comes out: Hermitian to rounding, nothing averaged.

    S counts lattice vectors between the cells to which the atoms belong as ``graph`` lists them: Φ(q + G) = Φ(q). With
    Φ(-q) = Φ(q)*, q-points that differ by sign are computed once; with ``operations`` one q of each star is, along the
    directions that its little group leaves.

    :param graph: the primitive cell, or any other; one system.
    :param qpoints: reduced coordinates in the reciprocal lattice of that cell, shape ``(n_q, 3)``.
    :param max_memory: bytes a batch of products may take; by default see :data:`BATCH_MEMORY`. A batch is as large as
        what the passes before it were measured to keep allows, and one product at least.
    :param progress: called with (done, total) products after each batch.
    :param operations: the space group of the same cell; none is used by default.
    :return: shape ``(n_q, 3 n_atoms, 3 n_atoms)``, complex128, eV/Å².
    :raises ValueError: if the crystal does not have the symmetry that ``operations`` say.
    :raises RuntimeError: if the products are not those of a Hermitian matrix: the derivatives of the model are not
        those of one energy.
    """
    stars = find_stars(np.asarray(qpoints, dtype=float), operations or identity(graph.n_atoms))
    return star_force_constants(BlochForceConstants(model, graph), stars, max_memory, progress)


def star_force_constants(
    engine: BlochForceConstants,
    stars: Stars,
    max_memory: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Φ(q) at the wave vectors of ``stars``; parameters and result as of :func:`bloch_force_constants`."""
    device, total, done = engine.gradient.device, stars.n_products, 0
    found: dict[int, np.ndarray] = {}
    # Real fields and complex ones apart: the former take one lane.
    for is_complex in (False, True):
        chosen = [k for k, arm in enumerate(stars.arms) if np.iscomplexobj(arm.fields) is is_complex]
        if not chosen:
            continue
        fields = np.concatenate([stars.arms[k].fields for k in chosen])
        wave_vectors = np.concatenate([np.tile(stars.arms[k].qpoint, (len(stars.arms[k].fields), 1)) for k in chosen])
        products = np.empty(fields.shape, dtype=complex)
        for batch in np.split(np.arange(len(fields)), range(size := engine.batch_size(max_memory), len(fields), size)):
            q, v = (torch.as_tensor(x[batch], device=device) for x in (wave_vectors, fields))
            products[batch] = engine.products(q, v).cpu().numpy()
            done += len(batch)
            if progress is not None:
                progress(done, total)
        ends = np.cumsum([len(stars.arms[k].fields) for k in chosen])
        found |= dict(zip(chosen, np.split(products, ends[:-1]), strict=True))
    for k, arm in enumerate(stars.arms):
        check_hermitian(arm.fields, found[k], engine.gradient.dtype)
    return stars.carried([arm.expanded(found[k]) for k, arm in enumerate(stars.arms)])
