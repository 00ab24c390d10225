"""Many searches at once: their derivatives are computed in batches bounded by edges, and what fails stays alone."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from ase import Atoms

from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.relaxation.expansion import Expansion
from aiida_mlfc.core.potentials.relaxation.newton import Search

LOGGER = logging.getLogger(__name__)


class SecondDerivativesError(RuntimeError):
    """The potential has an energy and forces, but no product with its Hessian could be computed."""


@dataclass
class _Member:
    """A search, what it waits for, and where it stands."""

    search: Search
    request: Any = None
    atoms: Atoms | None = None
    graph: AtomGraph | None = None
    error: Exception | None = None
    done: bool = False

    def advance(self, answer: Any = None, error: Exception | None = None) -> None:
        """Hand over an answer, or say that there is none; wait for the next request."""
        try:
            self.request = self.search.throw(error) if error is not None else self.search.send(answer)
        except StopIteration:
            self.done = True
        except Exception as raised:  # noqa: BLE001 (kept, and given back by run_together: others must not suffer)
            self.done, self.error = True, raised

    @property
    def wants_crystal(self) -> bool:
        """Whether it waits for an energy, and not for a product."""
        return not self.done and isinstance(self.request, Atoms)


def run_together(model: EnergyModel, searches: Sequence[Search], max_edges: int) -> list[Exception | None]:
    """Run searches to their ends.

    :param searches: see :mod:`aiida_mlfc.core.potentials.relaxation.newton`.
    :param max_edges: of a batch; a crystal with more is a batch of its own.
    :return: for each search, the exception that ended it, or None.
    """
    members = [_Member(search) for search in searches]
    for member in members:
        member.advance()
    while active := [member for member in members if not member.done]:
        ready = [member for member in active if _has_graph(model, member)]
        for group in _groups(ready, max_edges):
            _serve(model, group)
    return [member.error for member in members]


def _has_graph(model: EnergyModel, member: _Member) -> bool:
    """Build the graph of what a member asks for; a crystal that is none is for its search to deal with."""
    member.atoms = member.request
    try:
        member.graph = build_graph(member.atoms, model.cutoff, model.species, model.dtype, model.device)
    except ValueError as error:
        member.advance(error=error)
        return False
    return True


def _groups(members: list[_Member], max_edges: int) -> list[list[_Member]]:
    """Members of similar size together, no group above ``max_edges``."""
    groups: list[list[_Member]] = []
    edges = 0
    for member in sorted(members, key=lambda m: m.graph.n_edges if m.graph else 0):
        n_edges = member.graph.n_edges if member.graph else 0
        if not groups or edges + n_edges > max_edges:
            groups.append([])
            edges = 0
        groups[-1].append(member)
        edges += n_edges
    return groups


def _serve(model: EnergyModel, group: list[_Member]) -> None:
    """Answer a group until each of its members asks for another crystal or is done.

    What fails for many is tried again by halves, down to the one whose fault it is.
    """
    here = [member.atoms for member in group]
    error = _answered(model, group)
    if error is None:
        return
    # The frames of the exception hold the graph of the batch: without it, half of the batch may fit into memory.
    traceback.clear_frames(error.__traceback__)
    if model.device.type == 'cuda':
        torch.cuda.empty_cache()
    left = [m for m, atoms in zip(group, here, strict=True) if _wants_product(m) or m.request is atoms]
    left = [m for m in left if not m.done]
    if len(group) == 1:
        member = group[0]
        if _wants_product(member):
            error = SecondDerivativesError(f'{type(error).__name__}: {error}')
        member.advance(error=error)
        return
    LOGGER.warning('a batch of %d crystals failed, trying it by halves: %s', len(group), error)
    del error
    middle = (len(left) + 1) // 2
    for half in (left[:middle], left[middle:]):
        if half:
            _serve(model, half)


def _answered(model: EnergyModel, group: list[_Member]) -> Exception | None:
    """Answers from one expansion of the group; or what went wrong."""
    try:
        expansion = Expansion(model, [member.graph for member in group if member.graph is not None])
        for member, found in zip(group, expansion.first_order(), strict=True):
            if member.request is member.atoms:
                member.advance(found)
        while any(_wants_product(member) for member in group):
            vectors = [member.request if _wants_product(member) else None for member in group]
            for member, vector, product in zip(group, vectors, expansion.products(vectors), strict=True):
                if vector is not None:
                    member.advance(product)
    except (RuntimeError, MemoryError, ValueError) as error:
        return error
    return None


def _wants_product(member: _Member) -> bool:
    return not member.done and not member.wants_crystal
