"""Train a potential that ships with the package, from real DFT force sets, and write its card.

    python workflows/train_dx.py dx-demo|dx-si --references FOLDER --output FOLDER [--threads N]

FOLDER holds one sub-folder a force set (``configs.extxyz.xz``, ``meta.json``, ``phonopy_params.yaml``). Every second
configuration is learned from; the others are held back and give the errors in the card. Stop it at any time: the same
command continues.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from add_uncertainty import ensemble

from aiida_mlfc.core.potentials.checkpoints import save_dx
from aiida_mlfc.core.potentials.dx.config import DXConfig
from aiida_mlfc.core.potentials.dx.model import DXModel
from aiida_mlfc.core.potentials.training.loop import Trainer, prepare
from aiida_mlfc.core.potentials.training.recipe import Recipe
from aiida_mlfc.core.potentials.training.references import load_reference
from aiida_mlfc.runner.card import make_card
from aiida_mlfc.runner.evaluation import evaluate


@dataclass(frozen=True)
class Plan:
    """What a potential is made of.

    :param references: names of force sets; one folded cell of each enters every step, once for each time it is named.
    :param stages: one after the other, on the weights that the one before left.
    :param extra_qpoints: for each stage, wave vectors off the mesh of a reference, with interpolated labels.
    :param members: of the ensemble that says how unsure the potential is. One scale serves all crystals: dx-demo, whose
        errors lie between 0.007 and 0.35 THz, has none.
    """

    config: DXConfig
    references: tuple[str, ...]
    stages: tuple[Recipe, ...]
    extra_qpoints: tuple[dict[str, list[tuple[float, float, float]]], ...]
    members: int = 0


_QUARTZ_QPOINTS = [(1 / 3, 1 / 3, 0.0), (1 / 3, 0.0, 0.0), (1 / 3, 1 / 3, 0.5)]
_SI_QPOINTS = [(1 / 3, 0.0, 0.0), (1 / 3, 1 / 3, 0.0), (0.25, 0.0, 0.0)]
_SMALL = {'channels': 32, 'n_layers': 2, 'n_heads': 4, 'cutoff': 5.0, 'n_radial': 10, 'nonlinear': False}

PLANS = {
    # All materials alike, then the ones that lag with more emphasis; quartz is then also shown wave vectors off its
    # 2x2x2 mesh, where the first stage left an imaginary mode.
    'dx-demo': Plan(
        config=DXConfig(
            species=(7, 8, 11, 12, 13, 14, 17, 30, 31, 50, 52), energy_scale=5.0, average_neighbours=40.0, **_SMALL
        ),
        references=(
            'Si_PBEsol_fc3',
            'NaCl222_alm_fc3',
            'MgO_222rd',
            'AlN_rd_442_pbesol',
            'GaN_222_rd',
            'ZnTe_zb_pbesol',
            'SiO2_222_rd_symfc',
            'SnO2_222_rd_symfc',
        ),
        stages=(
            Recipe(n_steps=7000),
            Recipe(
                seed=1,
                n_steps=2000,
                learning_rate=2e-3,
                emphasis={
                    'SiO2_222_rd_symfc': 6.0,
                    'SnO2_222_rd_symfc': 3.0,
                    'Si_PBEsol_fc3': 3.0,
                    'AlN_rd_442_pbesol': 2.0,
                },
            ),
        ),
        extra_qpoints=({}, {'SiO2_222_rd_symfc': _QUARTZ_QPOINTS}),
    ),
    # One material: several folded cells and, every other step, a real supercell.
    'dx-si': Plan(
        config=DXConfig(species=(14,), energy_scale=5.0, average_neighbours=28.0, **_SMALL),
        references=('Si_PBEsol_fc3',) * 4,
        stages=(Recipe(n_steps=5000, supercell_share=0.4, n_undisplaced=1),),
        extra_qpoints=({'Si_PBEsol_fc3': _SI_QPOINTS},),
        members=5,
    ),
}


def main() -> None:
    """Train, or continue to train; then evaluate and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('name', choices=PLANS, help='which potential')
    parser.add_argument('--references', type=Path, required=True, help='folder with one sub-folder a force set')
    parser.add_argument('--output', type=Path, required=True, help='folder for checkpoints, log and NAME.safetensors')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--steps', type=int, help='steps of every stage, for a quick look instead of the real thing')
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    plan = PLANS[arguments.name]
    torch.manual_seed(plan.stages[0].seed)
    model = DXModel(plan.config)
    loaded = {name: load_reference(arguments.references / name) for name in dict.fromkeys(plan.references)}
    stages = []
    for number, (stage, extra) in enumerate(zip(plan.stages, plan.extra_qpoints, strict=True), start=1):
        prepared = {name: prepare(r.part(0), model, extra.get(name, ())) for name, r in loaded.items()}
        materials = [prepared[name] for name in plan.references]
        recipe = stage if arguments.steps is None else replace(stage, n_steps=arguments.steps)
        folder = arguments.output / f'stage{number}'
        trainer = Trainer(model, materials, recipe, folder)

        def report(row: dict[str, float], log_file: Path = folder / 'log.jsonl') -> None:
            with log_file.open('a') as log:
                log.write(json.dumps(row) + '\n')
            print(
                'step {step:6.0f}  {seconds:7.0f} s  displaced {displaced:.4f}  at rest {at_rest:.4f}  '
                'stress {stress:.4f}  lr {learning_rate:.2e}'.format(**row),
                file=sys.stderr,
                flush=True,
            )

        trainer.run(report)
        stages.append({'recipe': recipe, 'seconds': trainer.seconds, 'steps': trainer.step})
    model.to(torch.float64)
    held_back = [reference.part(1) for reference in loaded.values()]
    model.metadata = make_card(
        arguments.name,
        model,
        [reference.part(0) for reference in loaded.values()],
        [evaluate(model, part) for part in held_back],
        [len(part.forces) for part in held_back],
        stages,
        plan.extra_qpoints,
    )
    if plan.members:
        model.metadata |= ensemble(model, list(loaded.values()), plan.members)
    save_dx(model, arguments.output / f'{arguments.name}.safetensors')
    for row in model.metadata['errors on configurations never seen']:
        if 'error' in row:
            print(f'{row["material"]:22} {row["error"]}')
            continue
        print(
            '{material:22} {relative_frobenius_percent:5.2f} %  {frequency_mae_THz:.3f} THz  worst '
            '{frequency_max_error_THz:.2f}  min {min_frequency_THz:.2f} (DFT {min_frequency_DFT_THz:.2f})  '
            'stress {max_stress_GPa:.2f} GPa'.format(**row)
        )


if __name__ == '__main__':
    main()
