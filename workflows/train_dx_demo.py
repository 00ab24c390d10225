"""Train ``dx-demo``, the potential that ships with the package, from the DFT force sets it was trained on.

    python workflows/train_dx_demo.py --references FOLDER --output FOLDER [--steps N] [--threads N]

Every second configuration of each force set is learned from; the others are held back and give the errors in the model
card. Stop it at any time: the same command continues.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from aiida_mlfc.core.potentials.dx.config import DXConfig
from aiida_mlfc.core.potentials.dx.model import DXModel
from aiida_mlfc.core.potentials.training.loop import Trainer, prepare
from aiida_mlfc.core.potentials.training.recipe import Recipe
from aiida_mlfc.core.potentials.training.references import load_reference

REFERENCES = (
    'Si_PBEsol_fc3', 'NaCl222_alm_fc3', 'MgO_222rd', 'AlN_rd_442_pbesol', 'GaN_222_rd', 'ZnTe_zb_pbesol',
    'SiO2_222_rd_symfc', 'SnO2_222_rd_symfc',
)
CONFIG = DXConfig(
    species=(7, 8, 11, 12, 13, 14, 17, 30, 31, 50, 52), channels=32, n_layers=2, n_heads=4, cutoff=5.0, n_radial=10,
    nonlinear=False, energy_scale=5.0, average_neighbours=40.0,
)


def main() -> None:
    """Train, or continue to train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--references', type=Path, required=True, help='folder with one sub-folder a force set')
    parser.add_argument('--output', type=Path, required=True, help='folder for checkpoints and the log')
    parser.add_argument('--steps', type=int, default=Recipe.n_steps)
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recipe = replace(Recipe(), n_steps=arguments.steps)
    torch.manual_seed(recipe.seed)
    model = DXModel(CONFIG)
    materials = [prepare(load_reference(arguments.references / name).part(0), model) for name in REFERENCES]
    trainer = Trainer(model, materials, recipe, arguments.output)

    def report(row: dict[str, float]) -> None:
        with (arguments.output / 'log.jsonl').open('a') as log:
            log.write(json.dumps(row) + '\n')
        print('step {step:6.0f}  {seconds:7.0f} s  displaced {displaced:.4f}  at rest {at_rest:.4f}  '
              'stress {stress:.4f}  lr {learning_rate:.2e}'.format(**row), file=sys.stderr, flush=True)

    trainer.run(report)
    torch.save({'model': model.state_dict()}, arguments.output / 'averaged.pt')


if __name__ == '__main__':
    main()
