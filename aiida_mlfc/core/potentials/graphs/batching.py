"""Many AtomGraphs as one: node and edge tensors concatenated, indices shifted."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph


def concatenate(graphs: Sequence[AtomGraph]) -> AtomGraph:
    """One graph whose systems are those of ``graphs``, in order.

    :raises ValueError: if ``graphs`` is empty.
    """
    if not graphs:
        raise ValueError('got no graph to concatenate, wanted at least one')
    batches, edges, first_atom, first_system = [], [], 0, 0
    for graph in graphs:
        batches.append(graph.batch + first_system)
        edges.append(graph.edge_index + first_atom)
        first_atom += graph.n_atoms
        first_system += graph.n_systems
    return AtomGraph(
        positions=torch.cat([g.positions for g in graphs]),
        cell=torch.cat([g.cell for g in graphs]),
        atom_types=torch.cat([g.atom_types for g in graphs]),
        batch=torch.cat(batches),
        edge_index=torch.cat(edges, dim=1),
        edge_cell_shifts=torch.cat([g.edge_cell_shifts for g in graphs]),
    )
