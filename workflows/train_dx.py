"""Train a potential that ships with the package, from real DFT force sets, and write its card.

    python workflows/train_dx.py dx-demo|dx-si|dx-wide --references FOLDER --output FOLDER [--threads N]

FOLDER holds one sub-folder a force set (``configs.extxyz.xz``, ``meta.json``, ``phonopy_params.yaml``). Every second
configuration is learned from; the others are held back and give the errors in the card. Stop it at any time: the same
command continues.

dx-demo and dx-wide are cluster expansions: ``aiida-mlfc potential train`` with these references. dx-si is the attention
network without one.
"""

from __future__ import annotations

import argparse
import json
import os
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

#: eight crystals that everybody knows
DEMO = (
    'Si_PBEsol_fc3',
    'NaCl222_alm_fc3',
    'MgO_222rd',
    'AlN_rd_442_pbesol',
    'GaN_222_rd',
    'ZnTe_zb_pbesol',
    'SiO2_222_rd_symfc',
    'SnO2_222_rd_symfc',
)
#: one force set of each crystal whose DFT has no imaginary modes, or weak ones; of several the larger. Aluminium (PBE)
#: is left out, for stated functionals are never mixed (PBEsol here)
WIDE = (
    'Ag2Cu2O4_DynaPhoPy',
    'AgErTe2_P-42_1m',
    'Al2S3_P6',
    'AlN_rd_442_pbesol',
    'Cr_afm_vasp_nomag',
    'CuScS2_P3m1',
    'FeS2_pyrite_Pa-3',
    'GaN_222_rd',
    'KCaCO3F_P-6m2',
    'Li3NbS4_P-43m',
    'LiF_nosym_vasp',
    'LiZnGeO_Pc',
    'MgO_222rd',
    'NaCl222_alm_fc3',
    'NaMgF3_Pnma',
    'Si_PBEsol_fc3',
    'SiO2_stishovite_HP_vasp',
    'SnO2_222_rd_symfc',
    'YbMg2Sb2_P-3m1',
    'ZnTe_zb_pbesol',
)
EXPANSIONS = {'dx-demo': DEMO, 'dx-wide': WIDE}
#: how often a force set counts. Quartz, whose framework is soft, shares pairs and triplets with silicon and the other
#: oxides, and alone is fitted better than with them; so is Al2S3, of thirty atoms without symmetry
EMPHASIS: dict[str, dict[str, float]] = {'dx-demo': {'SiO2_222_rd_symfc': 16.0}, 'dx-wide': {'Al2S3_P6': 4.0}}


@dataclass(frozen=True)
class Plan:
    """What a network is made of.

    :param reference: name of the force set.
    :param copies: of it in every step: so many of its folded cells enter.
    :param extra_qpoints: wave vectors off its mesh, with interpolated labels.
    :param members: of the ensemble that says how unsure the potential is.
    """

    config: DXConfig
    reference: str
    copies: int
    recipe: Recipe
    extra_qpoints: tuple[tuple[float, float, float], ...]
    members: int


NETWORKS = {
    # Several folded cells and, every other step, a real supercell.
    'dx-si': Plan(
        config=DXConfig(
            species=(14,),
            channels=32,
            n_layers=2,
            n_heads=4,
            cutoff=5.0,
            n_radial=10,
            nonlinear=False,
            energy_scale=5.0,
            average_neighbours=28.0,
        ),
        reference='Si_PBEsol_fc3',
        copies=4,
        recipe=Recipe(n_steps=5000, supercell_share=0.4, n_undisplaced=1),
        extra_qpoints=((1 / 3, 0.0, 0.0), (1 / 3, 1 / 3, 0.0), (0.25, 0.0, 0.0)),
        members=5,
    ),
}


def main() -> None:
    """Train, or continue to train; then evaluate and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('name', choices=[*EXPANSIONS, *NETWORKS], help='which potential')
    parser.add_argument('--references', type=Path, required=True, help='folder with one sub-folder a force set')
    parser.add_argument('--output', type=Path, required=True, help='folder for checkpoints, log and NAME.safetensors')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--steps', type=int, help='of a network, for a quick look instead of the real thing')
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    if given.name in EXPANSIONS:
        solve(given)
    else:
        train(given, NETWORKS[given.name])


def solve(given: argparse.Namespace) -> None:
    """What anybody would do with force sets of their own."""
    references = [x for name in EXPANSIONS[given.name] for x in ('--reference', str(given.references / name))]
    output = given.output / f'{given.name}.safetensors'
    settings = given.output / 'settings.yaml'
    # JSON is YAML
    settings.write_text(json.dumps({'recipe': {'emphasis': EMPHASIS[given.name]}}))
    program = Path(sys.executable).with_name('aiida-mlfc')
    command = [program, 'potential', 'train', *references, '-o', output, '--threads', given.threads]
    command += ['--config', settings]
    # in place of this process: whoever stops it stops the training
    os.execv(program, [str(word) for word in command])


def train(given: argparse.Namespace, plan: Plan) -> None:
    """The network by gradient descent."""
    torch.set_num_threads(given.threads)
    torch.manual_seed(plan.recipe.seed)
    model = DXModel(plan.config)
    reference = load_reference(given.references / plan.reference)
    recipe = plan.recipe if given.steps is None else replace(plan.recipe, n_steps=given.steps)
    material = prepare(reference.part(0), model, plan.extra_qpoints)
    trainer = Trainer(model, [material] * plan.copies, recipe, given.output)

    def report(row: dict[str, float]) -> None:
        with (given.output / 'log.jsonl').open('a') as log:
            log.write(json.dumps(row) + '\n')
        print(
            'step {step:6.0f}  {seconds:7.0f} s  displaced {displaced:.4f}  at rest {at_rest:.4f}  '
            'stress {stress:.4f}  lr {learning_rate:.2e}'.format(**row),
            file=sys.stderr,
            flush=True,
        )

    trainer.run(report)
    model.to(torch.float64)
    held_back = reference.held_back()
    model.metadata = make_card(
        given.name,
        model,
        [reference.part(0)],
        [evaluate(model, held_back)],
        [len(held_back.forces)],
        [{'recipe': recipe, 'seconds': trainer.seconds, 'steps': trainer.step}],
        [{plan.reference: plan.extra_qpoints}],
    )
    model.metadata |= ensemble(model, [reference], plan.members)
    save_dx(model, given.output / f'{given.name}.safetensors')
    (row,) = model.metadata['errors on configurations never seen']
    print(
        '{material:22} {relative_frobenius_percent:5.2f} %  {frequency_mae_THz:.3f} THz  worst '
        '{frequency_max_error_THz:.2f}  min {min_frequency_THz:.2f} (DFT {min_frequency_DFT_THz:.2f})  '
        'stress {max_stress_GPa:.2f} GPa'.format(**row)
    )


if __name__ == '__main__':
    main()
