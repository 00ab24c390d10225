"""dx with and without latent charges, trained for the same processor time on the same force sets.

    python examples/benchmarks/latent_charges.py --reference FOLDER[=OTHER] --seconds 120 --output FOLDER

Charges are those of the reference's Born charges, not learned. Errors are measured on the half of the configurations
that nobody learned from, and on OTHER: the same crystal by other people, in another supercell perhaps.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from hessian_training import WARM_UP, seconds_of_a_step

from aiida_mlfc.core.potentials.dx.model import DXModel
from aiida_mlfc.core.potentials.training.batches import prepare
from aiida_mlfc.core.potentials.training.defaults import default_config, default_recipe, repeated
from aiida_mlfc.core.potentials.training.known_charges import known_charges
from aiida_mlfc.core.potentials.training.loop import Trainer
from aiida_mlfc.core.potentials.training.references import Reference, load_reference
from aiida_mlfc.runner.evaluation import evaluate

#: what is compared: fields of DXConfig
WAYS: dict[str, dict[str, Any]] = {'neighbours alone': {}, 'with charges': {'electrostatics': True}}
ERRORS = ('relative_frobenius_percent', 'frequency_mae_THz', 'frequency_max_error_THz', 'min_frequency_THz')


def trained(learned: Reference, changes: dict[str, Any], seconds: float, seed: int) -> tuple[DXModel, int]:
    """A model after ``seconds`` of one thread, and the number of its steps."""
    torch.manual_seed(seed)
    network = DXModel(default_config([learned], **changes))
    if network.electrostatics is not None:
        charges = known_charges([learned], network.species)
        if charges is None:
            raise SystemExit(f'{learned.name} has no Born charges: nothing to compare')
        network.electrostatics.give(charges, 'Born charges')
    network = network.float()
    materials = repeated([prepare(learned, network)])
    recipe = default_recipe(seed, 1, checkpoint_interval=1e9)
    n_steps = max(4, int(seconds / seconds_of_a_step(network, materials, recipe)))
    recipe = replace(recipe, n_steps=n_steps, warm_up=max(1, n_steps // WARM_UP))
    with tempfile.TemporaryDirectory(prefix='mlfc-bench-') as folder:
        Trainer(network, materials, recipe, Path(folder)).run()
    return network.double(), n_steps


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write ``latent_charges.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--reference', action='append', required=True, help='configs.extxyz.xz, meta.json')
    parser.add_argument('--seconds', type=float, default=120.0, help='processor time of each training')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--model', type=json.loads, default={}, help='JSON: fields of DXConfig, of both sides')
    parser.add_argument('--output', type=Path, required=True)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    given.output.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    for names in given.reference:
        reference, *others = (load_reference(folder) for folder in names.split('='))
        for way, changes in WAYS.items():
            model, n_steps = trained(reference.part(0), {**given.model, **changes}, given.seconds, given.seed)
            for part in (reference.part(1), *others):
                row = evaluate(model, part)
                errors = {name: row[name] for name in ERRORS}
                found.setdefault(reference.name, {}).setdefault(part.name, {})[way] = {**errors, 'steps': n_steps}
                said = '{:6.2f} %  {:.3f} THz, worst {:.2f}, lowest {:.2f}'.format(*errors.values())
                print(f'{reference.name:20} on {part.name:20} {way:16} {n_steps:5} steps {said}', flush=True)
            (given.output / 'latent_charges.json').write_text(json.dumps(found, indent=1))


if __name__ == '__main__':
    main()
