"""What a step learns from: folded cells of every material, undisplaced cells, now and then a real supercell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from aiida_mlfc.core.potentials.dx.model import DXModel
from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.graphs.batching import concatenate
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.training.harmonic_labels import DISPLACEMENT, SKIN, HarmonicCell, harmonic_cells
from aiida_mlfc.core.potentials.training.identity import digest_of
from aiida_mlfc.core.potentials.training.labels_between import WaveCell, cells_between
from aiida_mlfc.core.potentials.training.recipe import Recipe
from aiida_mlfc.core.potentials.training.references import Reference

#: decimals of given force constants (eV/Å²) by which a training state knows its data again
DIGITS_OF_CONSTANTS = 6


@dataclass
class Material:
    """One reference, prepared: folded cells, the perfect supercell's graph, and the configurations to learn from.

    :param energies: of the configurations, shape ``(n_configs,)``, eV; None where they are not known.
    :param costly: share of the edges whose features the model reads.
    :param between: cells between the commensurate q-points, of which a cluster expansion must be told.
    :param constants: force constants that were given in place of configurations, shape ``(n_prim, n_super, 3, 3)``.
    """

    name: str
    cells: list[HarmonicCell]
    supercell: AtomGraph
    displacements: Tensor
    forces: Tensor
    energies: Tensor | None = None
    costly: float = 1.0
    between: Sequence[WaveCell] = ()
    constants: np.ndarray | None = None

    @property
    def edges(self) -> float:
        """Mean number of edges of a folded cell, those that cost next to nothing left out."""
        return self.costly * float(np.mean([cell.graph.n_edges for cell in self.cells]))

    @property
    def force_scale(self) -> float:
        """Root mean square force of random displacements of ``DISPLACEMENT``, eV/Å."""
        return self.cells[0].norms['white'] * DISPLACEMENT

    @property
    def digest(self) -> str:
        """sha256 of what was read from files, and the sizes of the folded cells.

        Fitted force constants are left out: their last digits depend on the machine that fitted them. Given ones were
        symmetrised, and are rounded for the same reason.
        """
        graph = self.supercell
        sizes = repr([cell.graph.n_atoms for cell in self.cells])
        known = () if self.energies is None else (self.energies,)
        if self.constants is not None:
            # the sum turns -0.0 into 0.0
            known = (*known, torch.as_tensor(np.round(self.constants, DIGITS_OF_CONSTANTS) + 0.0))
        tensors = (self.displacements, self.forces, graph.positions, graph.cell, graph.atom_types, *known)
        return digest_of(tensors, note=sizes)


def prepare(reference: Reference, model: EnergyModel, extra_qpoints: Sequence[Sequence[float]] = ()) -> Material:
    """Fold, build graphs, and keep the configurations as tensors.

    :param extra_qpoints: see :func:`~aiida_mlfc.core.potentials.training.harmonic_labels.harmonic_cells`.
    """
    real = {'dtype': model.dtype, 'device': model.device}
    # Two atoms may move towards each other by this much.
    skin = max(SKIN, 2 * reference.largest_displacement)
    cells = harmonic_cells(reference, model.cutoff, model.species, extra_qpoints)
    lengths = cells[0].graph.edge_vectors().norm(dim=1)
    costly = float((lengths <= model.message_cutoff).sum()) / max(1, len(lengths))
    between: Sequence[WaveCell] = ()
    if isinstance(model, DXModel) and model.expansion is not None:
        has_dipoles = model.long_range is not None
        between = cells_between(reference, cells, model.cutoff, model.species, has_dipoles)
    return Material(
        reference.name,
        cells,
        build_graph(reference.supercell, model.cutoff + skin, model.species, model.dtype, model.device),
        torch.as_tensor(reference.displacements, **real),
        torch.as_tensor(reference.forces, **real),
        None if reference.energies is None else torch.as_tensor(reference.energies, **real),
        costly if model.message_cutoff < model.cutoff else 1.0,
        between,
        reference.constants,
    )


@dataclass
class Batch:
    """A concatenated graph with its labels; the first systems are undisplaced.

    :param forces: labels, shape ``(n_atoms, 3)``, eV/Å.
    :param factors: on the residuals, the same shape.
    :param n_undisplaced: systems at rest, whose forces and stress are zero.
    :param vectors: the same shape, Å; what the Hessian of each system at rest is multiplied by, its label being
        ``forces``. None in stage one.
    :param is_product: of each system, whether it is compared through its product.
    :param energy: of the last system, eV; None where it is not known.
    """

    graph: AtomGraph
    forces: Tensor
    factors: Tensor
    n_undisplaced: int
    vectors: Tensor | None = None
    is_product: Tensor | None = None
    energy: Tensor | None = None


@dataclass
class _Parts:
    """Systems of a batch as they are collected."""

    model: EnergyModel
    graphs: list[AtomGraph] = field(default_factory=list)
    forces: list[Tensor] = field(default_factory=list)
    factors: list[Tensor] = field(default_factory=list)
    vectors: list[Tensor] = field(default_factory=list)
    is_product: list[bool] = field(default_factory=list)

    def tensor(self, x: np.ndarray) -> Tensor:
        return torch.as_tensor(x, dtype=self.model.dtype, device=self.model.device)

    def add(self, graph: AtomGraph, forces: Tensor, factors: Tensor, vectors: Tensor | None = None) -> None:
        self.graphs.append(graph)
        self.forces.append(forces)
        self.factors.append(factors)
        self.is_product.append(vectors is not None)
        self.vectors.append(torch.zeros_like(forces) if vectors is None else vectors)


def draw_batch(
    materials: list[Material], recipe: Recipe, rng: np.random.Generator, model: EnergyModel, stage: int = 1
) -> Batch:
    """One random folded cell of every material, some undisplaced primitive cells, perhaps one DFT supercell.

    :param stage: 1 displaces the folded cells, 2 leaves them at rest and asks for products of their Hessians.
    """
    parts = _Parts(model)
    # Factors stand on residuals, emphasis on their squares.
    emphasis = [math.sqrt(recipe.emphasis.get(material.name, 1.0)) for material in materials]
    n_undisplaced = min(recipe.n_undisplaced, len(materials))
    for k in rng.choice(len(materials), n_undisplaced, replace=False):
        graph = materials[k].cells[0].graph.to(model.dtype, model.device)
        factor = emphasis[k] / materials[k].force_scale
        parts.add(graph, torch.zeros_like(graph.positions), torch.full_like(graph.positions, factor))
    shares = np.array([recipe.white, recipe.half, recipe.full])
    for material, factor_of_material in zip(materials, emphasis, strict=True) if recipe.folded else ():
        cell = material.cells[rng.integers(len(material.cells))]
        graph = cell.graph.to(model.dtype, model.device)
        if stage == 2 and recipe.stage_two_loss in ('column', 'modes'):
            u, force, factor = cell.draw_column(rng) if recipe.stage_two_loss == 'column' else cell.draw_mode(rng)
        else:
            kind = ('white', 'half', 'full')[rng.choice(3, p=shares / shares.sum())]
            u, force, factor = cell.draw(kind, rng)
            if kind == 'full':
                factor = factor * math.sqrt(recipe.full_weight)
        labels = (parts.tensor(force), parts.tensor(factor * factor_of_material))
        if stage == 1:
            parts.add(graph.with_positions(graph.positions + parts.tensor(u)), *labels)
        else:
            parts.add(graph, *labels, parts.tensor(u))
    energy = None
    with_forces = [material for material in materials if len(material.forces)]
    if with_forces and (rng.random() < recipe.supercell_share or not recipe.folded):
        material = with_forces[rng.integers(len(with_forces))]
        k = int(rng.integers(len(material.forces)))
        graph = material.supercell.with_positions(material.supercell.positions + material.displacements[k])
        forces = material.forces[k]
        parts.add(graph, forces, torch.full_like(forces, 1 / float(forces.square().mean().sqrt())))
        if recipe.energy_weight > 0 and material.energies is not None:
            energy = material.energies[k]
    products = stage == 2
    return Batch(
        concatenate(parts.graphs),
        torch.cat(parts.forces),
        torch.cat(parts.factors),
        n_undisplaced,
        torch.cat(parts.vectors) if products else None,
        torch.tensor(parts.is_product, device=model.device) if products else None,
        energy,
    )
