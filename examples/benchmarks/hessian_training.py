"""Force constants by training with Hessian products, and with forces alone, at equal compute.

    python examples/benchmarks/hessian_training.py --reference FOLDER --seconds 60 --output FOLDER

Every way of training gets the same CPU seconds on one thread: a step of each stage is timed first, and the number of
steps follows, with the learning rate sized to it. Model, seed, data and the cells at rest are the same. The curve shows
the error on the half of the configurations that nobody learned from, whose cost is not counted.

Products of the reference's Hessian are learned in two ways: as forces of folded cells displaced by 0.01 Å, which are
products by a finite difference, and differentiated at rest, some three times as dear. Forces of supercells are those of
the DFT configurations.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aiida_mlfc.core.potentials.dx.model import DXModel
from aiida_mlfc.core.potentials.training.batches import Material, draw_batch, prepare
from aiida_mlfc.core.potentials.training.defaults import default_config, default_recipe, repeated
from aiida_mlfc.core.potentials.training.loop import Trainer
from aiida_mlfc.core.potentials.training.recipe import Recipe
from aiida_mlfc.core.potentials.training.references import Reference, load_reference
from aiida_mlfc.core.potentials.training.terms import loss_terms
from aiida_mlfc.core.potentials.training.validation import Validation

#: what is compared: changes of the default recipe
WAYS: dict[str, dict[str, Any]] = {
    'forces of supercells': {'folded': False},
    'products as forces of folded cells': {},
    # a step of products costs some three of forces: about half of the compute each
    'these, then differentiated products': {'start_stage_two': 0.8},
    'differentiated products': {'start_stage_two': 0.0},
}
TIMED_STEPS = 10
#: sets of fewer configurations, those of phonopy's displacements, are learned whole: errors are those of the force
#: constants that they determine
FEWEST = 4
POINTS = 8
#: one step in so many is warm-up, in each stage
WARM_UP = 25


def seconds_of_a_step(model: DXModel, materials: list[Material], recipe: Recipe) -> float:
    """CPU seconds, stages by their share of the steps."""
    copy, rng, total = deepcopy(model), np.random.default_rng(0), 0.0
    for stage, share in ((1, recipe.start_stage_two), (2, 1 - recipe.start_stage_two)):
        times = []
        for _ in range(TIMED_STEPS if share else 0):
            started = time.process_time()
            sum(loss_terms(copy, draw_batch(materials, recipe, rng, copy, stage), recipe)).backward()
            times.append(time.process_time() - started)
        # supercells enter now and then: the mean; the first steps pay for memory
        total += share * float(np.mean(times[2:])) if times else 0.0
    return total


def curve(reference: Reference, changes: dict[str, Any], seconds: float, seed: int, model: dict[str, Any]) -> Any:
    """Errors along one training: rows of ``seconds``, ``relative_frobenius`` and ``frequency_mae`` (THz).

    :param seconds: CPU time that the training may take.
    """
    few = len(reference.forces) < FEWEST
    learned, held_back = (reference, reference) if few else (reference.part(0), reference.part(1))
    torch.manual_seed(seed)
    network = DXModel(default_config([learned], **model)).float()
    materials = repeated([prepare(learned, network)])
    recipe = default_recipe(seed, 1, checkpoint_interval=1e9, **changes)
    cost = seconds_of_a_step(network, materials, recipe)
    n_steps = max(POINTS, int(seconds / cost))
    # warm-up, too, is sized to the budget: fifty steps would be most of a short second stage
    short = {'n_steps': n_steps, 'eval_interval': max(1, n_steps // POINTS), 'warm_up': max(1, n_steps // WARM_UP)}
    recipe = replace(recipe, **short)
    rows: list[dict[str, float]] = []

    def note(row: dict[str, float]) -> None:
        if 'valid_frequency_mae' in row:
            rows.append({
                'seconds': row['step'] * cost, 'step': row['step'],
                'relative_frobenius': row['valid_relative_frobenius'], 'frequency_mae': row['valid_frequency_mae'],
            })  # fmt: skip

    with tempfile.TemporaryDirectory(prefix='mlfc-bench-') as folder:
        Trainer(network, materials, recipe, Path(folder), Validation([held_back], network)).run(note)
    return rows


def draw(found: dict[str, Any], path: Path) -> None:
    """The curves, one panel a material."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0 * len(found), 3.6), layout='constrained')
    panels = figure.subplots(1, len(found), squeeze=False)[0]
    for panel, (material, ways) in zip(panels, found.items(), strict=True):
        for way, rows in ways.items():
            panel.plot([r['seconds'] for r in rows], [100 * r['relative_frobenius'] for r in rows], 'o-', label=way,
                       markersize=3)  # fmt: skip
        panel.set(title=material, xlabel='CPU seconds of training', ylabel='Error of force constants (%)', yscale='log')
        panel.legend(frameon=False, fontsize='small')
    figure.savefig(path, dpi=160)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write ``hessian_training.json`` and ``.png``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--reference', type=Path, action='append', required=True, help='configs.extxyz.xz, meta.json')
    parser.add_argument('--seconds', type=float, default=60.0, help='CPU time of each training')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--model', type=json.loads, default={}, help='JSON: fields of DXConfig')
    parser.add_argument('--output', type=Path, required=True)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    given.output.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    for folder in given.reference:
        reference = load_reference(folder)
        for way, changes in WAYS.items():
            rows = curve(reference, changes, given.seconds, given.seed, given.model)
            found.setdefault(reference.name, {})[way] = rows
            last = rows[-1]
            print(
                f'{reference.name:24} {way:32} {last["seconds"]:6.0f} s {last["step"]:6.0f} steps  '
                f'{100 * last["relative_frobenius"]:6.2f} %  {last["frequency_mae"]:.3f} THz',
                flush=True,
            )
            (given.output / 'hessian_training.json').write_text(json.dumps(found, indent=1))
    draw(found, given.output / 'hessian_training.png')


if __name__ == '__main__':
    main()
