"""EnergyModel: the hourglass. Models stand on it from one side, derivatives from the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.long_range import LatentCharges


class EnergyModel(nn.Module, ABC):
    """A scalar, extensive energy, C2-smooth in positions and cell; a subclass provides :meth:`forward`.

    Nothing in a model detaches, takes an argmax, clamps an angle or leaves torch, and whatever an atom learns from
    another crosses through ``graph.neighbours``: on these two rules all derivatives stand, on the second one the
    q-space engine alone. The one exception is :attr:`long_range`, whose second derivatives are known at every q.
    """

    #: radius within which atoms see each other directly, Å
    cutoff: float
    #: number of times a neighbour's features are read
    n_message_layers: int
    #: largest distance at which one atom can change the energy of another, Å; :attr:`long_range` apart
    interaction_range: float
    #: atomic numbers, in the order of the columns of ``graph.atom_types``
    species: tuple[int, ...]
    #: whether all that an atom learns from another crosses ``graph.neighbours``; a model that cannot keep that rule
    #: says False, and its dynamical matrices are taken from supercells
    neighbours_only: bool = True
    #: the model card: training data with hashes, licence, citation, limits of validity
    metadata: dict[str, Any]

    @abstractmethod
    def forward(self, graph: AtomGraph) -> Tensor:
        """Energies of the systems of ``graph``, shape ``(n_systems,)``, eV."""

    @property
    def long_range(self) -> LatentCharges | None:
        """The Coulomb energy that :meth:`forward` holds, if it holds one."""
        return None

    def local_energy(self, graph: AtomGraph) -> Tensor:
        """What :meth:`forward` returns, without :attr:`long_range`."""
        return self(graph)

    @property
    def message_cutoff(self) -> float:
        """Radius within which features are read, Å: what an edge costs. ``cutoff`` but for terms that cost little."""
        return self.cutoff

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of the parameters, and so of every graph the model takes."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        return next(self.parameters()).device
