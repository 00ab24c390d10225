"""Force constants of Bloch waves, exact at any q, from the primitive cell's graph alone: no supercell, no truncation.

Φ(q) has the elements Σ_S Φ(i α 0; j β S) exp(2πi q·S): column j β is the second backward pass of the energy with the
unit displacement of atom j along β, phases at the door between atoms (:mod:`.phased_gather`). Energy and first backward
are the same for every q and every column; they are computed once, and only the second backward is batched.

It rests on the rule that atoms learn from each other through ``graph.neighbours`` alone. A model that breaks the rule
gives another Hermitian matrix, which nothing here can notice: comparison with a supercell at a commensurate q does.

Cost, M3GNet with 128 channels, Si with 2 atoms, float64, one CPU thread: one q (6 columns, two lanes) takes 0.84 of
energy and forces of 64 atoms with the same model.

Atoms may feel forces. Long-range electrostatics are not in here: LO-TO splitting is added by whoever has the charges.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aiida_mlfc.core.potentials.derivatives.phased_gather import BlochGraph
from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.interface import EnergyModel

#: Memory that a batch of columns may take where the caller sets no limit, bytes. Time per column is flat from four
#: columns at once on (M3GNet with 128 channels, silicon, CPU), so that more memory buys little.
BATCH_MEMORY = 2 * 2**30
#: of the free memory, a batch takes at most this
SHARE_OF_FREE_MEMORY = 0.5
#: Re and Im
N_LANES = 2
#: q-points that agree to so many decimals, up to sign and reciprocal lattice vectors, are computed once
DECIMALS = 12


class BlochForceConstants:
    """Energy and first backward of one crystal, kept; columns of Φ(q) on demand.

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
            energy = model(self._graph).sum()
            (self._gradient,) = torch.autograd.grad(energy, self._graph.positions, create_graph=True)
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
        return self._gradient.detach()

    def columns(self, qpoints: Tensor, coordinates: Tensor, create_graph: bool = False) -> Tensor:
        """Columns of Φ(q), one for each pair of q and coordinate, in one backward pass.

        Half the work where all q equal -q up to a reciprocal lattice vector: phases and Φ(q) are real there.

        :param qpoints: reduced coordinates, shape ``(n_columns, 3)``.
        :param coordinates: displaced coordinate, 3 j + β, shape ``(n_columns,)``, int64.
        :param create_graph: keep the result differentiable.
        :return: shape ``(n_columns, 3 n_atoms)``, complex, eV/Å².
        """
        n_columns, n_lanes = len(coordinates), 1 if bool(has_real_phases(qpoints).all()) else N_LANES
        fields = self._gradient.new_zeros(n_columns, n_lanes, self.n_coordinates)
        fields[torch.arange(n_columns, device=fields.device), 0, coordinates] = 1

        def second_backward(field: Tensor) -> Tensor:
            return torch.autograd.grad(
                self._gradient, self._graph.positions, field, retain_graph=True, create_graph=create_graph
            )[0]

        with torch.enable_grad(), self._graph.state.phased(qpoints):
            products = torch.vmap(second_backward)(fields.view(-1, *self._gradient.shape))
        real, *imaginary = products.reshape(n_columns, n_lanes, -1).unbind(1)
        return torch.complex(real, imaginary[0] if imaginary else torch.zeros_like(real))

    def matrix(self, qpoint: Tensor, create_graph: bool = False) -> Tensor:
        """Φ(q) of one q, as :func:`bloch_force_constants` has it; ``(3 n_atoms, 3 n_atoms)``, complex, eV/Å²."""
        coordinates = torch.arange(self.n_coordinates, device=qpoint.device)
        return self.columns(qpoint.expand(self.n_coordinates, 3), coordinates, create_graph).T

    def batch_size(self, max_memory: float | None = None) -> int:
        """Number of columns that are computed at once: those that fit, at least one.

        :param max_memory: bytes; :data:`BATCH_MEMORY`, or a share of the free memory if that is less, by default.
        """
        if max_memory is None:
            max_memory = min(BATCH_MEMORY, SHARE_OF_FREE_MEMORY * free_memory(self._gradient.device))
        return max(1, int(max_memory // (N_LANES * max(self.bytes_of_lane, 1))))


def has_real_phases(qpoints: Tensor) -> Tensor:
    """Whether exp(2πi q·S) is ±1 for every lattice vector, shape ``(n_q,)``."""
    return (2 * qpoints == (2 * qpoints).round()).all(1)


def free_memory(device: torch.device) -> float:
    """Memory that can still be had, bytes; infinity where the system does not say."""
    if device.type == 'cuda':
        return float(torch.cuda.mem_get_info(device)[0])
    meminfo = Path('/proc/meminfo')
    lines = meminfo.read_text(encoding='ascii').splitlines() if meminfo.exists() else []
    return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith('MemAvailable:')), float('inf'))


def bloch_force_constants(
    model: EnergyModel,
    graph: AtomGraph,
    qpoints: np.ndarray,
    max_memory: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Φ(q)_iα,jβ = Σ_S Φ(i α 0; j β S) exp(2πi q·S), as it comes out: Hermitian to rounding, nothing averaged.

    S counts lattice vectors between the cells to which the atoms belong as ``graph`` lists them: Φ(q + G) = Φ(q). With
    Φ(-q) = Φ(q)*, q-points that differ by sign are computed once.

    :param graph: the primitive cell, or any other; one system.
    :param qpoints: reduced coordinates in the reciprocal lattice of that cell, shape ``(n_q, 3)``.
    :param max_memory: bytes a batch of columns may take; by default see :data:`BATCH_MEMORY`. A batch is as large as
        what the passes before it were measured to keep allows, and one column at least.
    :param progress: called with (done, total) columns after each batch.
    :return: shape ``(n_q, 3 n_atoms, 3 n_atoms)``, complex128, eV/Å².
    """
    engine = BlochForceConstants(model, graph)
    n, size = engine.n_coordinates, engine.batch_size(max_memory)
    chosen, source, conjugated = _distinct(np.asarray(qpoints, dtype=float))
    device = graph.positions.device
    wave_vectors = torch.as_tensor(chosen, dtype=torch.float64, device=device).repeat_interleave(n, 0)
    coordinates = torch.arange(n, device=device).repeat(len(chosen))
    is_real = has_real_phases(wave_vectors)
    found = np.empty((len(chosen) * n, n), dtype=np.complex128)
    done = 0
    for group in (torch.nonzero(is_real)[:, 0], torch.nonzero(~is_real)[:, 0]):
        for batch in group.split(size):
            if len(batch):
                found[batch.cpu().numpy()] = engine.columns(wave_vectors[batch], coordinates[batch]).cpu().numpy()
                done += len(batch)
                if progress is not None:
                    progress(done, len(found))
    matrices = found.reshape(len(chosen), n, n).transpose(0, 2, 1)[source]
    return np.where(conjugated[:, None, None], matrices.conj(), matrices)


def _distinct(qpoints: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The q-points to compute; for each one asked for, its place among them and whether Φ is to be conjugated."""
    seen: dict[tuple[float, ...], int] = {}
    chosen: list[np.ndarray] = []
    source, conjugated = [], []
    for q in qpoints:
        key, opposite = (tuple(np.round(x % 1, DECIMALS) % 1) for x in (q, -q))
        is_new = key not in seen and opposite not in seen
        if is_new:
            seen[key] = len(chosen)
            chosen.append(q)
        source.append(seen[key] if key in seen else seen[opposite])
        conjugated.append(key not in seen)
    return np.reshape(chosen, (-1, 3)), np.array(source, dtype=int), np.array(conjugated, dtype=bool)


def strain_derivatives(
    model: EnergyModel, graph: AtomGraph, masses: np.ndarray, qpoint: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Squared frequencies at one q, and their derivatives with respect to strain: a third backward pass, exact.

    The strain ε acts as ``x -> x (1 + ε)`` on positions and cell; atoms follow it and do not relax further, q keeps its
    reduced coordinates. Where a distance passes the cutoff, a model that is smooth to second order only jumps.
    All columns are one batch. Of degenerate modes only the sum of their derivatives has a meaning: strain chooses its
    own modes among them, rounding chose these.

    :param masses: shape ``(n_atoms,)``, amu.
    :param qpoint: reduced coordinates, shape ``(3,)``.
    :return: ω² ascending, shape ``(3 n_atoms,)``, eV/Å²/amu, and dω²/dε, shape ``(3 n_atoms, 3, 3)``, same unit.
    """
    strain = torch.zeros_like(graph.cell, requires_grad=True)
    with torch.enable_grad():
        engine = BlochForceConstants(model, graph.strained(strain))
        q = torch.as_tensor(qpoint, dtype=torch.float64, device=graph.positions.device)
        matrix = engine.matrix(q, create_graph=True)
        roots = torch.as_tensor(masses, dtype=graph.cell.dtype, device=graph.cell.device).sqrt().repeat_interleave(3)
        matrix = (matrix + matrix.mH) / 2 / torch.outer(roots, roots)
        squares = torch.linalg.eigvalsh(matrix)
        gradients = [torch.autograd.grad(square, strain, retain_graph=True)[0][0] for square in squares]
    return squares.detach().cpu().numpy(), torch.stack(gradients).cpu().numpy()
