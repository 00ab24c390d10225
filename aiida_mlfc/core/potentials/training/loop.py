"""The training loop: harmonic cells of every material in each step, real supercells now and then, resume."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aiida_mlfc.core.potentials.derivatives.energy_derivatives import energy_forces_stress
from aiida_mlfc.core.potentials.graphs.atom_graph import AtomGraph
from aiida_mlfc.core.potentials.graphs.batching import concatenate
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.training.harmonic_labels import DISPLACEMENT, SKIN, HarmonicCell, harmonic_cells
from aiida_mlfc.core.potentials.training.identity import digest_of, model_identity
from aiida_mlfc.core.potentials.training.recipe import Recipe
from aiida_mlfc.core.potentials.training.references import Reference


@dataclass
class Material:
    """One reference, prepared: folded cells, the perfect supercell's graph, and the configurations to learn from."""

    name: str
    cells: list[HarmonicCell]
    supercell: AtomGraph
    displacements: Tensor
    forces: Tensor

    @property
    def force_scale(self) -> float:
        """Root mean square force of random displacements of ``DISPLACEMENT``, eV/Å."""
        return self.cells[0].norms['white'] * DISPLACEMENT

    @property
    def digest(self) -> str:
        """sha256 of what was read from files, and the sizes of the folded cells.

        Fitted force constants are left out: their last digits depend on the machine that fitted them.
        """
        graph = self.supercell
        sizes = repr([cell.graph.n_atoms for cell in self.cells])
        return digest_of((self.displacements, self.forces, graph.positions, graph.cell, graph.atom_types), note=sizes)


def prepare(reference: Reference, model: EnergyModel, extra_qpoints: Sequence[Sequence[float]] = ()) -> Material:
    """Fold, build graphs, and keep the configurations as tensors.

    :param extra_qpoints: see :func:`~aiida_mlfc.core.potentials.training.harmonic_labels.harmonic_cells`.
    """
    real = {'dtype': model.dtype, 'device': model.device}
    # Two atoms may move towards each other by this much.
    skin = max(SKIN, 2 * float(np.linalg.norm(reference.displacements, axis=2).max()))
    return Material(
        reference.name,
        harmonic_cells(reference, model.cutoff, model.species, extra_qpoints),
        build_graph(reference.supercell, model.cutoff + skin, model.species, model.dtype, model.device),
        torch.as_tensor(reference.displacements, **real),
        torch.as_tensor(reference.forces, **real),
    )


@dataclass
class Batch:
    """A concatenated graph, force labels, factors on the residuals; the first systems are undisplaced."""

    graph: AtomGraph
    forces: Tensor
    factors: Tensor
    n_undisplaced: int


def draw_batch(materials: list[Material], recipe: Recipe, rng: np.random.Generator, model: EnergyModel) -> Batch:
    """One random folded cell of every material, some undisplaced primitive cells, perhaps one DFT supercell."""
    graphs: list[AtomGraph] = []
    forces: list[Tensor] = []
    factors: list[Tensor] = []

    def tensor(x: np.ndarray) -> Tensor:
        return torch.as_tensor(x, dtype=model.dtype, device=model.device)

    # Factors stand on residuals, emphasis on their squares.
    emphasis = [math.sqrt(recipe.emphasis.get(material.name, 1.0)) for material in materials]
    n_undisplaced = min(recipe.n_undisplaced, len(materials))
    for k in rng.choice(len(materials), n_undisplaced, replace=False):
        graph = materials[k].cells[0].graph.to(model.dtype, model.device)
        graphs.append(graph)
        forces.append(torch.zeros_like(graph.positions))
        factors.append(torch.full_like(graph.positions, emphasis[k] / materials[k].force_scale))
    shares = np.array([recipe.white, recipe.half, recipe.full])
    for material, factor_of_material in zip(materials, emphasis, strict=True):
        cell = material.cells[rng.integers(len(material.cells))]
        kind = ('white', 'half', 'full')[rng.choice(3, p=shares / shares.sum())]
        u, force, factor = cell.draw(kind, rng)
        if kind == 'full':
            factor = factor * math.sqrt(recipe.full_weight)
        graph = cell.graph.to(model.dtype, model.device)
        graphs.append(graph.with_positions(graph.positions + tensor(u)))
        forces.append(tensor(force))
        factors.append(tensor(factor * factor_of_material))
    if rng.random() < recipe.supercell_share:
        material = materials[rng.integers(len(materials))]
        k = int(rng.integers(len(material.forces)))
        graphs.append(material.supercell.with_positions(material.supercell.positions + material.displacements[k]))
        forces.append(material.forces[k])
        factors.append(torch.full_like(forces[-1], 1 / float(material.forces[k].square().mean().sqrt())))
    return Batch(concatenate(graphs), torch.cat(forces), torch.cat(factors), n_undisplaced)


def loss_terms(model: EnergyModel, batch: Batch, recipe: Recipe) -> tuple[Tensor, Tensor, Tensor]:
    """Mean over displaced systems of the mean squared residual, the same at rest, and the stress penalty."""
    _, forces, stress = energy_forces_stress(model, batch.graph, create_graph=True)
    squares = ((forces - batch.forces) * batch.factors).square().mean(dim=1)
    counts = batch.graph.sum_to_systems(torch.ones_like(squares))
    by_system = batch.graph.sum_to_systems(squares) / counts
    at_rest = by_system[: batch.n_undisplaced].mean() if batch.n_undisplaced else by_system.new_zeros(())
    pressure = stress[: batch.n_undisplaced].square().sum(dim=(1, 2)).mean() if batch.n_undisplaced else at_rest
    return by_system[batch.n_undisplaced :].mean(), at_rest, recipe.stress_weight * pressure


class Trainer:
    """Owns model, optimiser, averaged weights and the random stream; saves all of them, so a resumed run continues."""

    def __init__(self, model: EnergyModel, materials: list[Material], recipe: Recipe, folder: Path) -> None:
        self.model, self.materials, self.recipe, self.folder = model, materials, recipe, Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        matrices = [p for p in model.parameters() if p.ndim > 1]
        others = [p for p in model.parameters() if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [{'params': matrices, 'weight_decay': recipe.weight_decay}, {'params': others, 'weight_decay': 0.0}],
            lr=recipe.learning_rate,
            betas=recipe.betas,
        )
        self.average = {k: v.detach().clone() for k, v in model.state_dict().items()}
        self.rng = np.random.default_rng(recipe.seed)
        self.step, self.seconds = 0, 0.0
        #: a state is continued only if all of this is the same
        self.identity = {
            'recipe': {k: v for k, v in recipe.to_dict().items() if k != 'checkpoint_interval'},
            'model': model_identity(model),
            'data': [f'{material.name} {material.digest}' for material in materials],
        }
        if self.checkpoint.exists():
            self._restore()

    @property
    def checkpoint(self) -> Path:
        return self.folder / 'training_state.pt'

    def learning_rate(self) -> float:
        """Linear warm-up, then a cosine to zero at the last step."""
        if self.step < self.recipe.warm_up:
            return self.recipe.learning_rate * (self.step + 1) / self.recipe.warm_up
        fraction = (self.step - self.recipe.warm_up) / max(1, self.recipe.n_steps - self.recipe.warm_up)
        return self.recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, fraction)))

    def run(
        self,
        report: Callable[[dict[str, float]], None] | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Train up to ``n_steps``; afterwards the model holds the averaged weights.

        :param should_stop: asked after every step; then the state is saved, and another run continues.
        :return: whether the last step was reached.
        """
        started = saved = time.monotonic()
        before = self.seconds
        sums, n_summed = np.zeros(3), 0
        while self.step < self.recipe.n_steps:
            for group in self.optimiser.param_groups:
                group['lr'] = self.learning_rate()
            terms = loss_terms(self.model, draw_batch(self.materials, self.recipe, self.rng, self.model), self.recipe)
            loss = sum(terms)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
            if not torch.isfinite(loss):
                raise FloatingPointError(f'the loss is {loss.item()} at step {self.step}: lower the learning rate')
            self.optimiser.step()
            self.step += 1
            self._update_average()
            self.seconds = before + time.monotonic() - started
            sums += [float(t.detach()) for t in terms]
            n_summed += 1
            if self.step % 50 == 0 or self.step == self.recipe.n_steps:
                if report is not None:
                    displaced, at_rest, pressure = sums / n_summed
                    report(
                        {
                            'step': self.step,
                            'seconds': self.seconds,
                            'displaced': displaced,
                            'at_rest': at_rest,
                            'stress': pressure,
                            'learning_rate': self.learning_rate(),
                        }
                    )
                sums[:], n_summed = 0, 0
            if time.monotonic() - saved > self.recipe.checkpoint_interval:
                self._save()
                saved = time.monotonic()
            if should_stop() and self.step < self.recipe.n_steps:
                self._save()
                return False
        self._save()
        self.model.load_state_dict(self.average)
        return True

    def _update_average(self) -> None:
        # The average forgets its random start faster than a fixed decay would.
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        for name, value in self.model.state_dict().items():
            self.average[name].lerp_(value, 1 - decay)

    def _save(self) -> None:
        state = {
            'step': self.step,
            'seconds': self.seconds,
            'model': self.model.state_dict(),
            'average': self.average,
            'optimiser': self.optimiser.state_dict(),
            'rng': json.dumps(self.rng.bit_generator.state),
            'identity': json.dumps(self.identity),
        }
        partial = self.checkpoint.with_suffix('.partial')
        torch.save(state, partial)
        os.replace(partial, self.checkpoint)

    def _restore(self) -> None:
        state = torch.load(self.checkpoint, weights_only=True, map_location=self.model.device)
        # through JSON as the stored one: tuples are lists there
        ours, theirs = json.loads(json.dumps(self.identity)), json.loads(state.get('identity', '{}'))
        different = [name for name in ours if theirs.get(name) != ours[name]]
        if different:
            said = {'recipe': 'another recipe', 'model': 'other model settings', 'data': 'other data'}
            raise ValueError(
                f'{self.checkpoint} was written with {" and ".join(said[name] for name in different)}: '
                'remove it, or train in another folder'
            )
        self.model.load_state_dict(state['model'])
        self.average = state['average']
        self.optimiser.load_state_dict(state['optimiser'])
        self.rng.bit_generator.state = json.loads(state['rng'])
        self.step, self.seconds = state['step'], state['seconds']
