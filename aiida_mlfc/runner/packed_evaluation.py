"""``task: evaluate``: energies and gradients of many crystals, packed by edges into batches that fit into memory.

Time and memory go with the edges, not with the crystals: a batch is filled, in the order of the job, until its edges
reach a budget. The first crystal is a batch of its own; what autograd kept for each of its edges sets the budget.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aiida_mlfc.core.potentials.derivatives.input_gradients import InputGradients, input_gradients
from aiida_mlfc.core.potentials.derivatives.memory import free_memory
from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.graphs.batching import concatenate
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.validity import check_environment
from aiida_mlfc.exchange.arrays import write_arrays
from aiida_mlfc.exchange.job import structure_from_arrays
from aiida_mlfc.exchange.names import ARRAYS_FILE
from aiida_mlfc.runner.out_of_memory import is_out_of_memory, let_go
from aiida_mlfc.runner.outcome import Outcome

#: arrays of one crystal at a time, by name
Further = Mapping[str, Callable[[AtomGraph, EnergyModel], np.ndarray]]

#: what a batch may keep for its backward pass, bytes: larger batches leave the processor's cache and take longer
BATCH_MEMORY = 2**28
#: of the free memory, a batch takes at most this; gradients on the way take as much again at most
SHARE_OF_FREE_MEMORY = 0.25


@dataclass
class EdgeBudget:
    """How many edges a batch may have, by what autograd was measured to keep for each.

    :param memory: bytes a batch may keep; :data:`BATCH_MEMORY`, or a share of the free memory if that is less, by
        default.
    """

    memory: float | None = None
    #: the most that a batch kept for each of its edges so far; None before the first
    bytes_per_edge: float | None = field(default=None, init=False)

    def edges(self, device: torch.device) -> float:
        """The largest number of edges; zero before anything was measured, so that the first batch is one crystal."""
        if self.bytes_per_edge is None:
            return 0
        memory = self.memory
        if memory is None:
            memory = min(BATCH_MEMORY, SHARE_OF_FREE_MEMORY * free_memory(device))
        return memory / self.bytes_per_edge

    def measured(self, model: EnergyModel, graph: AtomGraph) -> InputGradients:
        """:func:`input_gradients`, and a look at what it kept."""
        kept: dict[int, int] = {}

        def weigh(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(weigh, lambda tensor: tensor):
            found = input_gradients(model, graph)
        for tensor in (*model.parameters(), *model.buffers()):
            kept.pop(tensor.untyped_storage().data_ptr(), None)
        self.bytes_per_edge = max(self.bytes_per_edge or 1.0, sum(kept.values()) / max(graph.n_edges, 1))
        return found


@dataclass(frozen=True)
class _Ready:
    """A crystal whose graph is there.

    :param seconds: spent on it so far.
    """

    key: str
    graph: AtomGraph
    seconds: float


def evaluate_packed(
    keys: Iterable[str],
    read: Callable[[str], dict[str, Any]],
    model: EnergyModel,
    budget: EdgeBudget | None = None,
    further: Further | None = None,
) -> Iterator[tuple[str, Outcome | Exception, float]]:
    """Energy, forces, stress and gradients of each crystal as it is; arrays in ``arrays.hdf5``.

    A crystal that cannot be computed gives its exception; the others of its batch are computed without it.

    :param read: the input of a key.
    :param further: what else is computed, of each crystal on its own.
    :return: key, outcome or what went wrong, and seconds; a batch's share goes by edges.
    """
    budget = budget or EdgeBudget()
    batch: list[_Ready] = []
    for key in keys:
        started = time.perf_counter()
        try:
            atoms = structure_from_arrays(read(key)['structure'])
            graph = build_graph(atoms, model.cutoff, model.species, model.dtype, model.device)
            check_environment(atoms, model.metadata, model.cutoff)
        except Exception as error:  # noqa: BLE001 (one crystal must not take the others with it; the caller reports it)
            yield key, error, time.perf_counter() - started
            continue
        n_edges = sum(ready.graph.n_edges for ready in batch) + graph.n_edges
        if batch and n_edges > budget.edges(model.device):
            yield from _evaluate(batch, model, budget, further or {})
            batch = []
        batch.append(_Ready(key, graph, time.perf_counter() - started))
    yield from _evaluate(batch, model, budget, further or {})


def _evaluate(
    batch: list[_Ready], model: EnergyModel, budget: EdgeBudget, further: Further
) -> Iterator[tuple[str, Outcome | Exception, float]]:
    if not batch:
        return
    started = time.perf_counter()
    outcomes: list[Outcome | Exception]
    failed: Exception | None = None
    try:
        found = budget.measured(model, concatenate([ready.graph for ready in batch]))
        outcomes = list(_outcomes(found, [ready.graph for ready in batch], model, further))
    except Exception as error:  # noqa: BLE001 (halved until the crystal is found whose fault it is)
        failed = error
    if failed is not None:
        # Its frames hold the graph of the whole batch: without it, half of the batch may fit into memory.
        traceback.clear_frames(failed.__traceback__)
        if is_out_of_memory(failed):
            let_go(failed)
        if len(batch) > 1:
            del failed
            middle = len(batch) // 2
            for half in (batch[:middle], batch[middle:]):
                yield from _evaluate(half, model, budget, further)
            return
        outcomes = [failed]
    spent = time.perf_counter() - started
    edges = [ready.graph.n_edges + 1 for ready in batch]
    for ready, outcome, n in zip(batch, outcomes, edges, strict=True):
        yield ready.key, outcome, ready.seconds + spent * n / sum(edges)


def _outcomes(
    found: InputGradients, graphs: list[AtomGraph], model: EnergyModel, further: Further
) -> Iterator[Outcome | Exception]:
    """What is written of each crystal of a batch; float64 whatever it was computed in.

    Of a crystal whose energy or gradients are no numbers, an error: in the result they would be missing values.
    """
    sizes = torch.bincount(found.graph.batch).cumsum(0).tolist()
    energies, stresses, positions, lattices, types = (
        x.cpu().numpy().astype(float)
        for x in (found.energy, found.stress(), found.positions, found.lattice, found.atom_types)
    )
    for k, end in enumerate(sizes):
        own = slice(sizes[k - 1] if k else 0, end)
        arrays = {
            'energy': float(energies[k]),
            'forces': -positions[own],
            'stress': stresses[k],
            'gradient_positions': positions[own],
            'gradient_lattice': lattices[k],
            'gradient_atom_types': types[own],
            'species': np.array(model.species),
        }
        if wrong := [name for name, values in arrays.items() if not np.isfinite(values).all()]:
            yield ValueError(
                f'not finite: got {", ".join(wrong)} with NaN or infinity, wanted numbers; are atoms too near each '
                'other for the potential, or is the potential broken?'
            )
            continue
        arrays |= {name: of(graphs[k], model) for name, of in further.items()}
        data = {
            'energy': arrays['energy'],
            'max_force': np.abs(positions[own]).max(),
            'stress': stresses[k],
            'n_atoms': end - own.start,
        }
        yield data, _writer(arrays)


def _writer(arrays: dict[str, Any]) -> Callable[[Path], None]:
    return lambda folder: write_arrays(folder / ARRAYS_FILE, arrays)
