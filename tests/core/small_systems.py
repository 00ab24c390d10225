"""Small crystals and models on which the tests of the science stand."""

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list
from torch import Tensor

from aiida_mlfc.core.potentials.dx.config import preset
from aiida_mlfc.core.potentials.dx.model import DXModel
from aiida_mlfc.core.potentials.dx.radial import quartic
from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.interface import EnergyModel

#: Na, Al, Si, Cl
SPECIES = (11, 13, 14, 17)
#: a dx small enough that a Hessian row costs milliseconds; 16 to 18 neighbours in the crystals below
SMALL = {
    'channels': 8, 'n_heads': 2, 'attention_channels': 4, 'radial_width': 16, 'type_channels': 4, 'n_radial': 6,
    'cutoff': 4.4, 'energy_scale': 5.0, 'average_neighbours': 18.0,
}


def small_dx(variant: str = 'v4', **changes) -> DXModel:
    """A float64 dx with fixed random weights, biases included: those start at zero and would hide their mistakes."""
    torch.manual_seed(7)
    model = DXModel(preset(variant, **{'species': SPECIES, **SMALL, **changes})).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def small_dx_with_expansion(**changes) -> DXModel:
    """The same with a cluster expansion of random coefficients, for each of the small crystals."""
    lengths = {'pair_cutoff': 5.2, 'triplet_cutoff': 3.9, 'pair_spacing': 0.4, 'triplet_spacing': 0.6}
    model = small_dx(expansion_systems=((11, 17), (13,), (14,)), **lengths, **changes)
    random = torch.Generator().manual_seed(8)
    for coefficients, size in ((model.expansion.pair_coefficients, 0.5), (model.expansion.triplet_coefficients, 0.05)):
        drawn = torch.randn(coefficients.shape, generator=random, dtype=torch.float64)
        coefficients.copy_(size * drawn)
    return model


def small_crystals() -> dict[str, Atoms]:
    """Perfect diamond, rock salt and fcc, and the same displaced and sheared; 2 or 4 atoms.

    No distance lies within 0.015 Å of the cutoff: differences with steps up to 0.01 Å never cross it, where an envelope
    with two continuous derivatives would make extrapolation fail. The crossing has a test of its own.
    """
    perfect = {
        'diamond': bulk('Si', 'diamond', a=5.43),
        'rocksalt': bulk('NaCl', 'rocksalt', a=5.64),
        'fcc': bulk('Al', 'fcc', a=4.05) * (2, 1, 1),
    }
    rattled = {}
    for name, atoms in perfect.items():
        large = atoms * ((1, 2, 1) if name != 'fcc' else (1, 1, 2))
        candidates = (_rattled(large, seed) for seed in range(100))
        rattled[f'{name}-rattled'] = next(c for c in candidates if _distance_to_cutoff(c) > 0.015)
    return perfect | rattled


def _rattled(atoms: Atoms, seed: int) -> Atoms:
    moved = atoms.copy()
    shear = 0.03 * np.random.default_rng(seed).standard_normal((3, 3))
    moved.set_cell(np.array(moved.cell) @ (np.eye(3) + shear), scale_atoms=True)
    moved.rattle(0.08, seed=seed)
    return moved


def _distance_to_cutoff(atoms: Atoms) -> float:
    return np.abs(neighbor_list('d', atoms, SMALL['cutoff'] + 1) - SMALL['cutoff']).min()


class EmbeddedAtoms(EnergyModel):
    """E = Σ_i [10 Σ_j a_i a_j φ(d) - √(1 + Σ_j a_j φ(d))], φ = 4 (1 - (d/r_c)²)⁴ exp(-d): many-body and smooth.

    The cheapest model that the contract holds for, and the toy reference of training and folding.
    """

    def __init__(self) -> None:
        super().__init__()
        self.species, self.cutoff = SPECIES, SMALL['cutoff']
        self.n_message_layers, self.interaction_range, self.metadata = 1, self.cutoff, {}
        self.strengths = torch.nn.Parameter(torch.tensor([0.9, 1.3, 1.1, 0.7], dtype=torch.float64))

    def forward(self, graph: AtomGraph) -> Tensor:
        distances = graph.edge_vectors().square().sum(-1).sqrt()
        strengths = graph.atom_types @ self.strengths
        overlap = 4 * quartic(distances / self.cutoff) * torch.exp(-distances) * graph.neighbours(strengths)
        density = graph.sum_to_centres(overlap)
        return graph.sum_to_systems(10 * strengths * density - torch.sqrt(1 + density))
