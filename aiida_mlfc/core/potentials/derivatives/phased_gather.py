"""The door between atoms as four autograd Functions: gather and scatter, plain and with Bloch phases.

In the infinite crystal the second backward pass is a linear, translation-invariant map of the displacement field. On
Bloch fields v_j(cell S) = exp(2πi q·S) v_j it closes on one cell, and the gather of neighbours is the only operation
that sees another cell. Energy and first backward know one cell, where all cells are alike, and run plain. The second
backward

- runs through the recorded scatters: u → e^{+iθ_e} u_j(e), a phased gather;
- runs through the gathers of the energy: x'_j += Σ_e e^{-iθ_e} y'_e, a phased scatter, its adjoint;

with θ_e = 2π q·S_e. A plain Function's backward is its plain partner, or the phased one while :class:`BlochState` holds
phases; a phased Function's backward is its phased partner always, so that one more derivative, with the state empty
again, gives plain cotangents to the fields of the energy and phased ones to the tangent fields.

Complex fields are two real lanes, (Re, Im); one is enough where all phases are real. Wave vectors, displacement
patterns and lanes are one batch axis that vmap carries through the second backward: everything else acts on each lane
with the same real coefficients.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph


@dataclass
class BlochState:
    """The wave vectors of the second backward that is running, if one is.

    A plain attribute and no thread-local: autograd may run a backward in threads of its own. Each calculation has a
    state of its own, so calculations in different threads do not see each other's.
    """

    #: reduced coordinates, one for each field of one or two lanes, shape ``(n_fields, 3)``
    qpoints: Tensor | None = None

    @contextmanager
    def phased(self, qpoints: Tensor) -> Iterator[None]:
        """Within, plain Functions go backward to phased ones."""
        self.qpoints = qpoints
        try:
            yield
        finally:
            self.qpoints = None


@dataclass(frozen=True)
class _Crossings:
    """Where the edges of one gather lead.

    :param neighbours: atom at the far end of each edge, shape ``(n_edges,)``.
    :param shifts: lattice vectors crossed, shape ``(n_edges, 3)``.
    """

    neighbours: Tensor
    shifts: Tensor
    n_atoms: int
    state: BlochState

    def rotated(self, y: Tensor, qpoints: Tensor, sign: int) -> Tensor:
        """y e^{sign iθ}, on one lane if there is only one.

        :param y: shape ``(n_fields * n_lanes, n_edges, ...)``.
        """
        # Whole turns are taken off first: cosines of large angles lose digits.
        turns = qpoints @ self.shifts.to(qpoints.dtype).T
        angles = 2 * math.pi * (turns - turns.round())
        shape = (*angles.shape, *(1,) * (y.dim() - 2))
        cosine, sine = angles.cos().to(y.dtype).view(shape), sign * angles.sin().to(y.dtype).view(shape)
        lanes = y.unflatten(0, (len(qpoints), -1)).unbind(1)
        if len(lanes) == 1:
            return cosine * y
        real, imaginary = lanes
        return torch.stack((cosine * real - sine * imaginary, sine * real + cosine * imaginary), 1).flatten(0, 1)


def _gathered(x: Tensor, crossings: _Crossings, dim: int) -> Tensor:
    return x.index_select(dim, crossings.neighbours)


def _scattered(y: Tensor, crossings: _Crossings, dim: int) -> Tensor:
    shape = list(y.shape)
    shape[dim] = crossings.n_atoms
    return y.new_zeros(shape).index_add(dim, crossings.neighbours, y)


class PlainGather(Function):
    """Value of x, shape ``(n_atoms, ...)``, on the neighbour of each edge."""

    @staticmethod
    def forward(x: Tensor, crossings: _Crossings) -> Tensor:
        return _gathered(x, crossings, 0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.crossings = inputs[1]
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, u: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        if u is None:
            return None, None
        qpoints = ctx.crossings.state.qpoints
        if qpoints is None:
            return PlainScatter.apply(u, ctx.crossings), None
        return PhasedScatter.apply(u, ctx.crossings, qpoints, False), None


class PlainScatter(Function):
    """Sum of y, shape ``(n_edges, ...)``, over the edges that lead to each atom."""

    @staticmethod
    def forward(y: Tensor, crossings: _Crossings) -> Tensor:
        return _scattered(y, crossings, 0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.crossings = inputs[1]
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, u: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        if u is None:
            return None, None
        qpoints = ctx.crossings.state.qpoints
        if qpoints is None:
            return PlainGather.apply(u, ctx.crossings), None
        return PhasedGather.apply(u, ctx.crossings, qpoints, False), None


class _Phased(Function):
    """What both phased Functions share: they want the batch axis of fields and lanes, which vmap hides, in sight."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.crossings, ctx.qpoints, _ = inputs
        ctx.set_materialize_grads(False)

    @classmethod
    def _of_lanes(
        cls, in_dims: tuple[int | None, ...], x: Tensor, crossings: _Crossings, qpoints: Tensor
    ) -> tuple[Tensor, int]:
        assert in_dims[0] is not None  # vmap calls a rule only where something is batched
        return cls.apply(x.movedim(in_dims[0], 0), crossings, qpoints, True), 0


def _must_vanish(x: Tensor) -> None:
    """A cotangent of the second backward is linear in the displacements: one that does not carry their axis is zero."""
    if bool((x != 0).any()):
        raise RuntimeError('a cotangent without lanes reached a Bloch phase; run the second backward through vmap')


class PhasedGather(_Phased):
    """e^{+iθ_e} x_j(e), x of shape ``(n_fields * n_lanes, n_atoms, ...)``."""

    @staticmethod
    def forward(x: Tensor, crossings: _Crossings, qpoints: Tensor, has_lanes: bool) -> Tensor:
        if not has_lanes:
            _must_vanish(x)
            return _gathered(x, crossings, 0)
        return crossings.rotated(_gathered(x, crossings, 1), qpoints, 1)

    @staticmethod
    def backward(ctx: Any, u: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        scattered = None if u is None else PhasedScatter.apply(u, ctx.crossings, ctx.qpoints, True)
        return scattered, None, None, None

    @staticmethod
    def vmap(  # type: ignore[override]
        info: Any, in_dims: tuple[int | None, ...], x: Tensor, crossings: _Crossings, qpoints: Tensor, has_lanes: bool
    ) -> tuple[Tensor, int]:
        return PhasedGather._of_lanes(in_dims, x, crossings, qpoints)


class PhasedScatter(_Phased):
    """Σ_e e^{-iθ_e} y_e onto the atoms that edges lead to, y of shape ``(n_fields * n_lanes, n_edges, ...)``."""

    @staticmethod
    def forward(y: Tensor, crossings: _Crossings, qpoints: Tensor, has_lanes: bool) -> Tensor:
        if not has_lanes:
            _must_vanish(y)
            return _scattered(y, crossings, 0)
        return _scattered(crossings.rotated(y, qpoints, -1), crossings, 1)

    @staticmethod
    def backward(ctx: Any, u: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        gathered = None if u is None else PhasedGather.apply(u, ctx.crossings, ctx.qpoints, True)
        return gathered, None, None, None

    @staticmethod
    def vmap(  # type: ignore[override]
        info: Any, in_dims: tuple[int | None, ...], y: Tensor, crossings: _Crossings, qpoints: Tensor, has_lanes: bool
    ) -> tuple[Tensor, int]:
        return PhasedScatter._of_lanes(in_dims, y, crossings, qpoints)


@dataclass(frozen=True)
class BlochGraph(AtomGraph):
    """An AtomGraph whose door carries Bloch phases in the second backward; energy and forces are the AtomGraph's."""

    state: BlochState = field(default_factory=BlochState)

    @classmethod
    def of(cls, graph: AtomGraph) -> BlochGraph:
        """The same atoms and edges with a state of their own."""
        return cls(
            graph.positions, graph.cell, graph.atom_types, graph.batch, graph.edge_index, graph.edge_cell_shifts
        )

    def neighbours(self, x: Tensor) -> Tensor:
        # Taken from this graph and not kept: the edges of a graph made by ``replace`` are its own.
        crossings = _Crossings(self.edge_index[1], self.edge_cell_shifts, self.n_atoms, self.state)
        return PlainGather.apply(x, crossings)
