"""Potentials for relaxation: one that binds crystals, and others made of it in which something is wrong."""

import weakref

import torch
from torch import Tensor

from aiida_mlfc.core.potentials.dx.radial import quartic
from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.interface import EnergyModel


class MorseIons(EnergyModel):
    """Unlike neighbours bind as Morse's diatomic molecule, like ones repel; smooth at the cutoff.

    Crystals of it have a lattice of their own, which ``EmbeddedAtoms`` (repulsive) have not.
    """

    def __init__(self, species: tuple[int, ...]) -> None:
        super().__init__()
        self.species, self.cutoff, self.n_message_layers, self.interaction_range = species, 6.0, 1, 6.0
        self.metadata = {'validity': {'has_stress': True}}
        #: eV, 1/Å, Å
        self.depth, self.steepness, self.distance = 1.0, 1.2, 2.6
        self.anchor = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))

    def forward(self, graph: AtomGraph) -> Tensor:
        distances = graph.edge_vectors().square().sum(-1).sqrt()
        alike = (graph.neighbours(graph.atom_types) * graph.centres(graph.atom_types)).sum(-1)
        decay = torch.exp(-self.steepness * (distances - self.distance))
        pair = alike * decay + (1 - alike) * (decay**2 - 2 * decay)
        atoms = graph.sum_to_centres(self.anchor * self.depth / 2 * pair * quartic(distances / self.cutoff))
        return graph.sum_to_systems(atoms)


class Wrapped(EnergyModel):
    """Another energy made of that of a model."""

    def __init__(self, model: EnergyModel) -> None:
        super().__init__()
        self.model = model
        self.cutoff, self.species, self.metadata = model.cutoff, model.species, model.metadata
        self.n_message_layers, self.interaction_range = model.n_message_layers, model.interaction_range


class DoubleWell(Wrapped):
    """E' = (E - level)²: what was the minimum of E becomes a maximum between two valleys."""

    level = 0.0

    def forward(self, graph: AtomGraph) -> Tensor:
        return (self.model(graph) - self.level) ** 2


class NotDifferentiable(torch.autograd.Function):
    """The identity, without a derivative."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError('derivative is not implemented')


class OnceDifferentiable(torch.autograd.Function):
    """The identity, as written by someone who needed forces only."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return NotDifferentiable.apply(gradient)


class ForcesOnly(Wrapped):
    """Energy and forces, no second derivatives: torch refuses them."""

    def forward(self, graph: AtomGraph) -> Tensor:
        inner = graph.with_positions(OnceDifferentiable.apply(graph.positions))
        return self.model(inner)


class Stairs(Wrapped):
    """An energy that goes up in steps where its forces point downhill."""

    def forward(self, graph: AtomGraph) -> Tensor:
        smooth = self.model(graph)
        return smooth - 2 * (smooth - smooth.detach().round(decimals=1)).detach()


class NoMemory(Wrapped):
    """Refuses more than a number of atoms at once."""

    largest = 5

    def forward(self, graph: AtomGraph) -> Tensor:
        if graph.n_atoms > self.largest:
            raise RuntimeError(f'out of memory with {graph.n_atoms} atoms')
        return self.model(graph)


class Remembered(Wrapped):
    """Counts what is still there of the graphs of earlier batches whenever another one comes."""

    def __init__(self, model: EnergyModel) -> None:
        super().__init__(model)
        self.seen: list[weakref.ref[Tensor]] = []
        self.still_there: list[int] = []

    def forward(self, graph: AtomGraph) -> Tensor:
        self.still_there.append(sum(one() is not None for one in self.seen))
        # what autograd keeps of the product for as long as it keeps the graph
        factor = torch.ones_like(graph.positions[:, :1])
        self.seen.append(weakref.ref(factor))
        return self.model(graph.with_positions(graph.positions * factor))


class Tilted(Wrapped):
    """Breaks every symmetry: the first kind of atom feels a constant force along x, the others balance it."""

    force = 0.01

    def forward(self, graph: AtomGraph) -> Tensor:
        first = graph.atom_types[:, :1]
        balanced = first - first.mean()
        return self.model(graph) - self.force * graph.sum_to_systems(graph.positions[:, 0] * balanced[:, 0])


class NotANumber(Wrapped):
    """NaN, with gradients of NaN."""

    def forward(self, graph: AtomGraph) -> Tensor:
        return self.model(graph) * float('nan')
