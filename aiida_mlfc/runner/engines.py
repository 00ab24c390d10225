"""The two exact engines behind ``method='autograd'``, and which of them is the cheaper.

*rows*: products of the supercell's Hessian with the displacements that symmetry leaves.
*qspace*: products of the primitive cell's Φ(q) with the fields that the little groups leave, at one arm of each star of
the supercell's commensurate q-points; phonopy transforms them.

Both give the same force constants to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from ase import Atoms

from aiida_mlfc.core.force_constants.from_qpoints import commensurate_qpoints
from aiida_mlfc.core.force_constants.irreducible import Setup
from aiida_mlfc.core.potentials.derivatives.memory import SHARE_OF_FREE_MEMORY, free_memory
from aiida_mlfc.core.potentials.derivatives.qspace import BlochForceConstants, star_force_constants
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.structures.little_group import Stars, find_stars
from aiida_mlfc.core.structures.operations import operations_of
from aiida_mlfc.runner.bloch_phases import with_phonopy_phases

Engine = Literal['rows', 'qspace']

#: Energy and first backward, in units of one more second backward of the same graph. Measured on silicon: 0.8 (dx),
#: 0.9 to 1.2 (M3GNet) in supercells of 64 atoms.
COST_OF_FIRST_BACKWARD = 1.0
#: A real field of the q-space engine per atom, in the same unit: vmap costs, and tensors that stay in the cache win it
#: back. Measured in float32, float64 (M3GNet) and float64 (dx): quartz 1.1, 0.8, 1.1; silicon with 216 atoms 1.4, 0.9,
#: 1.1; a triclinic crystal of 20 atoms 1.0 (M3GNet, float32).
COST_OF_LANE = 1.0


@dataclass(frozen=True)
class Costs:
    """What each engine would cost, in second backward passes of one atom.

    :param rows_memory: bytes that the graph of the supercell would keep, in proportion to the primitive cell's.
    """

    rows: float
    qspace: float
    rows_memory: float

    def cheaper(self, available_memory: float) -> Engine:
        """The engine to take: the cheaper one; never the supercell's graph where it does not fit."""
        return 'rows' if self.rows < self.qspace and self.rows_memory < available_memory else 'qspace'


@dataclass(frozen=True)
class QSpace:
    """The q-space engine of one crystal: its primitive cell, and the stars of the supercell's q-points."""

    primitive: Atoms
    engine: BlochForceConstants
    qpoints: np.ndarray
    stars: Stars

    @classmethod
    def of(cls, setup: Setup, model: EnergyModel, qpoints: np.ndarray | None = None) -> QSpace:
        """Energy and first backward of the primitive cell are computed here.

        :param qpoints: the supercell's commensurate ones by default.
        """
        primitive = setup.primitive
        graph = build_graph(primitive, model.cutoff, model.species, model.dtype, model.device)
        qpoints = commensurate_qpoints(setup) if qpoints is None else qpoints
        stars = find_stars(qpoints, operations_of(primitive, setup.symprec))
        return cls(primitive, BlochForceConstants(model, graph), qpoints, stars)

    def at(self, qpoints: np.ndarray) -> QSpace:
        """The same crystal at other q-points; nothing is computed again."""
        return QSpace(self.primitive, self.engine, qpoints, find_stars(qpoints, self.stars.operations))

    def matrices(self, masses: np.ndarray, progress: Callable[[int, int], None] | None = None) -> np.ndarray:
        """Dynamical matrices in phonopy's convention, shape ``(n_q, 3 n_prim, 3 n_prim)``, eV/Å²/amu.

        :param masses: of the primitive cell's atoms, amu.
        """
        phi = star_force_constants(self.engine, self.stars, self.batch_memory, progress)
        return with_phonopy_phases(phi, self.qpoints, self.primitive, masses)

    @property
    def batch_memory(self) -> float:
        """Bytes for a batch of products: no more than the supercell's own graph would take."""
        return min(len(self.qpoints) * self.engine.bytes_of_lane, self.engine.default_memory)

    @property
    def cost(self) -> float:
        """Of the products at these q-points, in the unit of :class:`Costs`."""
        return len(self.primitive) * COST_OF_LANE * self.stars.n_lanes

    def costs(self, setup: Setup) -> Costs:
        """Both engines, for the supercell of ``setup``.

        Rows are counted with the fewest directions there can be where this is enough to see that they cost more: the
        symmetry of the supercell is searched for the others only.
        """
        fewest = self._costs(setup, setup.fewest_directions)
        return fewest if fewest.rows >= fewest.qspace else self._costs(setup, len(setup.directions))

    def _costs(self, setup: Setup, n_directions: int) -> Costs:
        n_primitive, n_super = len(self.primitive), len(setup.phonon.supercell)
        return Costs(
            rows=n_super * (COST_OF_FIRST_BACKWARD + n_directions),
            qspace=n_primitive * COST_OF_FIRST_BACKWARD + self.cost,
            rows_memory=self.engine.bytes_of_lane * n_super / n_primitive,
        )

    def cheaper(self, setup: Setup) -> Engine:
        """The engine to take for the supercell of ``setup``, by :class:`Costs` and the memory that is free."""
        return self.costs(setup).cheaper(SHARE_OF_FREE_MEMORY * free_memory(self.engine.gradient.device))
