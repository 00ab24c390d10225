"""Energy, its gradient and the virial in one function: eager and differentiable, or compiled and fast."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.mattersim.activations import once
from aiida_mlfc.core.potentials.mattersim.model import M3GNet

Gradients = tuple[Tensor, Tensor | None, Tensor | None]
#: edges that are computed at once where nothing is differentiated afterwards: with 32 MB of cache, and others on the
#: machine, a batch of 6200 edges took 1.3 times as long in one piece (1M model, float32 and float64, one CPU thread)
EDGES_AT_ONCE = 1500


class CompileFallbackWarning(UserWarning):
    """Compilation was asked for and is not possible; results come from the eager function."""


def within_cutoff(graph: AtomGraph, cutoff: float) -> AtomGraph:
    """The graph without the edges that are longer than ``cutoff`` now.

    :param cutoff: Å.
    """
    with torch.no_grad():
        near = torch.nonzero(graph.edge_vectors().square().sum(1) < cutoff**2)[:, 0]
    return replace(
        graph,
        edge_index=graph.edge_index.index_select(1, near),
        edge_cell_shifts=graph.edge_cell_shifts.index_select(0, near),
    )


def energy_gradients(
    model: M3GNet,
    graph: AtomGraph,
    normaliser_types: Tensor | None = None,
    forces: bool = True,
    stress: bool = True,
    create_graph: bool = False,
    keep_energy: bool = False,
) -> Gradients:
    """Energies ``(n_systems,)`` in eV, dE/dx ``(n_atoms, 3)`` in eV/Å, dE/dε ``(n_systems, 3, 3)`` in eV.

    :param normaliser_types: see :meth:`M3GNet.atomic_energies`.
    :param create_graph: keep the gradients differentiable.
    :param keep_energy: keep the energies differentiable with respect to whatever the graph depends on.
    """
    if not (forces or stress):
        energy = graph.sum_to_systems(model.atomic_energies(graph, normaliser_types))
        return (energy if keep_energy else energy.detach()), None, None
    with torch.enable_grad(), nullcontext() if create_graph or keep_energy else once():
        if forces and not graph.positions.requires_grad:
            graph = graph.with_positions(graph.positions.detach().requires_grad_(True))
        inputs, deformed = [graph.positions] if forces else [], graph
        if stress:
            strain = torch.zeros_like(graph.cell, requires_grad=True)
            inputs.append(strain)
            deformed = graph.strained(strain)
        energy = deformed.sum_to_systems(model.atomic_energies(deformed, normaliser_types))
        gradients = list(torch.autograd.grad(
            energy.sum(), inputs, create_graph=create_graph, retain_graph=create_graph or keep_energy
        ))
        gradient = gradients.pop(0) if forces else None
        virial = gradients[0] if stress else None
        if virial is not None:
            # Rotational invariance makes the virial symmetric; averaging removes the rounding.
            virial = (virial + virial.mT) / 2
    return (energy if keep_energy else energy.detach()), gradient, virial


def by_slices(
    model: M3GNet, graph: AtomGraph, normaliser_types: Tensor | None, forces: bool, stress: bool
) -> Gradients:
    """:func:`energy_gradients` of few systems at a time, so that what the backward pass reads is still in the cache.

    :param graph: edges system by system; nothing of the result can be differentiated.
    """
    # A GPU wants it all at once.
    limit = EDGES_AT_ONCE if graph.positions.device.type == 'cpu' else graph.n_edges
    if graph.n_edges <= limit or graph.n_systems == 1:
        return energy_gradients(model, graph, normaliser_types, forces, stress)
    edges = torch.bincount(graph.batch[graph.edge_index[0]], minlength=graph.n_systems).tolist()
    atoms = torch.bincount(graph.batch, minlength=graph.n_systems).tolist()
    sizes, filled = [0], 0
    for n_edges in edges:
        if sizes[-1] and filled + n_edges > limit:
            sizes.append(0)
            filled = 0
        sizes[-1] += 1
        filled += n_edges
    results, system, atom, edge = [], 0, 0, 0
    for size in sizes:
        n_atoms, n_edges = (sum(counts[system : system + size]) for counts in (atoms, edges))
        of_atoms, of_edges = slice(atom, atom + n_atoms), slice(edge, edge + n_edges)
        part = AtomGraph(
            graph.positions[of_atoms], graph.cell[system : system + size], graph.atom_types[of_atoms],
            graph.batch[of_atoms] - system, graph.edge_index[:, of_edges] - atom, graph.edge_cell_shifts[of_edges],
        )  # fmt: skip
        types = None if normaliser_types is None else normaliser_types[of_atoms]
        results.append(energy_gradients(model, part, types, forces, stress))
        system, atom, edge = system + size, atom + n_atoms, edge + n_edges
    energy, gradient, virial = (
        None if parts[0] is None else torch.cat([part for part in parts if part is not None])
        for parts in zip(*results, strict=True)
    )
    assert energy is not None
    return energy, gradient, virial


class Compiled:
    """The compiled function, made at the first call; any failure leads back to the eager one, with a warning.

    :param backend: of ``torch.compile``; True for its default.
    """

    def __init__(self, backend: bool | str = True) -> None:
        self._backend = 'inductor' if backend is True else str(backend)
        self._function: Callable[..., Gradients] | None = None
        #: why compilation was given up, if it was
        self.failure: str | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Compiled code is neither copied nor pickled; a copy compiles again.
        return self.__dict__ | {'_function': None}

    def __call__(self, model: M3GNet, graph: AtomGraph, normaliser_types: Tensor | None) -> Gradients:
        if self.failure is None:
            try:
                if self._function is None:
                    self._function = torch.compile(_flat, dynamic=True, fullgraph=True, backend=self._backend)
                types = graph.atom_types if normaliser_types is None else normaliser_types
                with torch._dynamo.config.patch(trace_autograd_ops=True):
                    return self._function(
                        model, graph.positions.detach().requires_grad_(True),
                        torch.zeros_like(graph.cell, requires_grad=True), graph.cell.detach(),
                        graph.atom_types.detach(), graph.batch, graph.edge_index, graph.edge_cell_shifts,
                        types.detach(),
                    )
            except Exception as error:  # noqa: BLE001 - whatever the compiler's reason, the eager result is right
                self.failure = f'{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ""}'
                warnings.warn(
                    f'compile=True: torch {torch.__version__} could not compile energy and gradients ({self.failure}); '
                    'results now come uncompiled, with the same numbers', CompileFallbackWarning, stacklevel=5,
                )
        energy, gradient, virial = energy_gradients(model, graph, normaliser_types)
        return energy, gradient, virial


def _flat(
    model: M3GNet, positions: Tensor, strain: Tensor, cell: Tensor, atom_types: Tensor, batch: Tensor,
    edge_index: Tensor, edge_cell_shifts: Tensor, normaliser_types: Tensor,
) -> Gradients:
    """:func:`energy_gradients` of plain tensors, as the compiler takes them."""
    graph = AtomGraph(positions, cell, atom_types, batch, edge_index, edge_cell_shifts).strained(strain)
    energy = graph.sum_to_systems(model.atomic_energies(graph, normaliser_types))
    gradient, virial = torch.autograd.grad(energy.sum(), (positions, strain))
    return energy.detach(), gradient, (virial + virial.mT) / 2
