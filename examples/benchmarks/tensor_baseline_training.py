"""Training of the direct baseline on the force constants of a reference, and its place in a supercell.

Blocks of the primitive cell's pairs are summed onto the folded cells of a reference, on the same folded force constants
that dx learns forces from, with the same weights of hard and soft modes: where dx draws one displacement a step, the
baseline, which has whole matrices, takes the mean over all of them.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ase import Atoms
from tensor_baseline_network import Pairs, TensorNetwork, pairs_of
from torch import Tensor

from aiida_mlfc.core.potentials.dx.config import DXConfig
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.training.harmonic_labels import HarmonicCell, harmonic_cells
from aiida_mlfc.core.potentials.training.recipe import Recipe
from aiida_mlfc.core.potentials.training.references import Reference
from aiida_mlfc.core.potentials.training.stages import Stages

#: Å; two sites closer than this are the same
SAME_SITE = 1e-3


def pairs_in(primitive: Atoms, network: TensorNetwork) -> Pairs:
    """The pairs of a primitive cell."""
    species, dtype = network.trunk.species, network.trunk.dtype
    near = build_graph(primitive, network.trunk.cutoff, species, dtype)
    return pairs_of(near, build_graph(primitive, network.reach, species, dtype))


@dataclass(frozen=True)
class Placement:
    """Where the blocks of a primitive cell stand in a cell of several of them.

    :param n_atoms: of that cell.
    :param owner: primitive atom of each of its atoms, shape ``(n_atoms,)``.
    :param pair: of the primitive cell, for each pair of that cell, shape ``(n_atoms * pairs of an atom,)``.
    :param index: first atom times ``n_atoms`` plus second atom, the same shape.
    """

    n_atoms: int
    owner: Tensor
    pair: Tensor
    index: Tensor

    def hessian(self, blocks: Tensor, own: Tensor) -> Tensor:
        """Blocks of all images summed, shape ``(n_atoms, n_atoms, 3, 3)``, eV/Å²."""
        n = self.n_atoms
        flat = blocks.new_zeros((n * n, 3, 3)).index_add(0, self.index, blocks[self.pair])
        return flat.index_add(0, torch.arange(n) * (n + 1), own[self.owner]).view(n, n, 3, 3)


def place(primitive: Atoms, pairs: Pairs, positions: np.ndarray, cell: np.ndarray) -> Placement:
    """Match sites of a cell with those of the primitive cell.

    :param positions: of the atoms of the larger cell, shape ``(n_atoms, 3)``, Å.
    :param cell: its vectors as rows, Å.
    :raises ValueError: if a site is missing.
    """
    owner = _sites(positions, primitive.positions, np.array(primitive.cell))
    far = pairs.far
    centres, vectors = far.edge_index[0].numpy(), far.edge_vectors().numpy()
    chosen, index = [], []
    for a, prim in enumerate(owner):
        own = np.flatnonzero(centres == prim)
        chosen.append(own)
        index.append(a * len(owner) + _sites(positions[a] + vectors[own], positions, cell))
    joined = (np.concatenate(parts) for parts in (chosen, index))
    return Placement(len(owner), torch.from_numpy(owner), *(torch.from_numpy(x) for x in joined))


def _sites(points: np.ndarray, sites: np.ndarray, cell: np.ndarray) -> np.ndarray:
    shifts = (points[:, None] - sites[None]) @ np.linalg.inv(cell)
    distances = np.linalg.norm((shifts - np.rint(shifts)) @ cell, axis=2)
    if distances.min(axis=1).max() > SAME_SITE:
        raise ValueError(f'an atom is {distances.min(axis=1).max():.3g} Å from its site, wanted below {SAME_SITE} Å')
    return distances.argmin(axis=1)


class Lesson:
    """The force constants of one reference as the baseline learns them."""

    def __init__(self, reference: Reference, network: TensorNetwork, recipe: Recipe) -> None:
        self.pairs = pairs_in(reference.primitive, network)
        self.cells = harmonic_cells(reference, network.trunk.cutoff, network.trunk.species)
        self.recipe, dtype = recipe, network.trunk.dtype
        self.placements = [
            place(reference.primitive, self.pairs, c.graph.positions.numpy(), c.graph.cell[0].numpy())
            for c in self.cells
        ]
        self.labels = [torch.as_tensor(c.hessian, dtype=dtype) for c in self.cells]
        self.generators = [{k: torch.as_tensor(g, dtype=dtype) for k, g in c.generators.items()} for c in self.cells]

    def loss(self, network: TensorNetwork) -> Tensor:
        """Mean over folded cells of the mean squared residual that displacements of the recipe's kinds would have."""
        blocks, own = network(self.pairs)
        shares = {'white': self.recipe.white, 'half': self.recipe.half, 'full': self.recipe.full}
        total = blocks.new_zeros(())
        for k, cell in enumerate(self.cells):
            hessian = flat(self.placements[k].hessian(blocks, own))
            for kind, share in shares.items():
                weight = share / sum(shares.values()) * (self.recipe.full_weight if kind == 'full' else 1.0)
                residual = (hessian - self.labels[k]) @ self.generators[k][kind] / cell.norms[kind]
                if kind != 'white':
                    residual = residual / torch.as_tensor(cell.root_masses, dtype=residual.dtype)[:, None]
                total = total + weight * residual.square().sum() / len(residual) / len(self.cells)
        return total


def flat(hessian: Tensor) -> Tensor:
    """Shape ``(n, n, 3, 3)`` to ``(3n, 3n)``."""
    return hessian.permute(0, 2, 1, 3).reshape(3 * len(hessian), -1)


def scales_of(cells: list[HarmonicCell]) -> tuple[float, float]:
    """Root mean square of the self-terms, and a tenth of it for pairs, which are many."""
    own = []
    for cell in cells:
        n = len(cell.hessian) // 3
        own.append(cell.hessian.reshape(n, 3, n, 3)[np.arange(n), :, np.arange(n)])
    size = float(np.sqrt(np.mean(np.concatenate(own) ** 2)))
    return size / 10, size


def train(
    reference: Reference, config: DXConfig, seconds: float, seed: int, recipe: Recipe, **of_network: Any
) -> tuple[TensorNetwork, list[dict[str, float]]]:
    """Train for CPU seconds of one thread with dx's optimiser; the network holds the averaged weights.

    :param recipe: of dx, whose displacements, learning rate and average are taken over; ``n_steps`` is set here.
    :return: the network, and rows of ``seconds``, ``step``, ``loss``.
    """
    torch.manual_seed(seed)
    scales = scales_of(harmonic_cells(reference, config.cutoff, config.species))
    network = TensorNetwork(config, scales=scales, **of_network).float()
    lesson = Lesson(reference, network, recipe)
    n_steps = max(POINTS, int(seconds / _seconds_of_a_step(lesson, network)))
    stages = Stages(type(recipe)(**{**recipe.to_dict(), 'n_steps': n_steps, 'warm_up': max(1, n_steps // WARM_UP)}))
    matrices = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{'params': matrices, 'weight_decay': recipe.weight_decay}, {'params': others, 'weight_decay': 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=tuple(recipe.betas))
    average = {k: v.detach().clone() for k, v in network.state_dict().items()}
    rows: list[dict[str, float]] = []
    started = time.process_time()
    for step in range(1, n_steps + 1):
        for group in optimiser.param_groups:
            group['lr'] = stages.learning_rate(step - 1)
        loss = lesson.loss(network)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
        value_of_loss = float(loss.detach())
        if not math.isfinite(value_of_loss):
            raise FloatingPointError(f'the loss is {value_of_loss} at step {step}: lower the learning rate')
        optimiser.step()
        decay = min(recipe.ema_decay, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            average[name].lerp_(value, 1 - decay)
        if step % max(1, n_steps // POINTS) == 0 or step == n_steps:
            rows.append({'seconds': time.process_time() - started, 'step': step, 'loss': value_of_loss})
    network.load_state_dict(average)
    return network, rows


#: rows of a training, and the share of its steps that is warm-up, as in ``hessian_training.py``
POINTS, WARM_UP = 8, 25
TIMED_STEPS = 10


def _seconds_of_a_step(lesson: Lesson, network: TensorNetwork) -> float:
    times = []
    for _ in range(TIMED_STEPS):
        started = time.process_time()
        lesson.loss(network).backward()
        times.append(time.process_time() - started)
    network.zero_grad(set_to_none=True)
    return float(np.mean(times[2:]))


def force_constants(network: TensorNetwork, reference: Reference) -> np.ndarray:
    """As predicted, on the supercell of a reference, float64, shape ``(n_super, n_super, 3, 3)``, eV/Å²."""
    network = network.double()
    pairs = pairs_in(reference.primitive, network)
    supercell = reference.supercell
    with torch.no_grad():
        blocks, own = network(pairs)
    placed = place(reference.primitive, pairs, supercell.positions, np.array(supercell.cell))
    network.float()
    return placed.hessian(blocks, own).numpy()
