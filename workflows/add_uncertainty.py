"""Give a potential that has none an ensemble of last layers, so that screens say how unsure it is.

    python workflows/add_uncertainty.py POTENTIAL --references FOLDER --output FILE.safetensors [--members 5]

FOLDER holds the force sets that stand on the potential's card, one sub-folder each. Weights stay as they are. The
covariance comes from the configurations it learned from, the calibration from those held back.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from aiida_mlfc.core.potentials.checkpoints import save_potential
from aiida_mlfc.core.potentials.ensemble import UNCERTAINTY
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.registry import load_potential
from aiida_mlfc.core.potentials.training.references import Reference, load_reference
from aiida_mlfc.exchange.training_options import TrainOptions
from aiida_mlfc.runner.training_data import Split
from aiida_mlfc.runner.training_uncertainty import calibrated_ensemble


def ensemble(model: EnergyModel, references: Sequence[Reference], members: int) -> dict[str, Any]:
    """What is added to the card; every second configuration of a reference was learned from.

    :param model: in float64.
    """
    splits = [Split(reference.part(0), reference.held_back()) for reference in references]
    return calibrated_ensemble(model, splits, TrainOptions(uncertainty_members=members))


def main() -> None:
    """Load, draw, calibrate, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('potential', help='a name or a file')
    parser.add_argument('--references', type=Path, required=True, help='folder with one sub-folder a force set')
    parser.add_argument('--output', type=Path, required=True)
    parser.add_argument('--members', type=int, default=5)
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model = load_potential(given.potential)
    if getattr(model, 'expansion', None) is not None:
        raise SystemExit(f'{given.potential} has a cluster expansion, whose uncertainty is drawn where it is trained')
    names = [source['name'] for source in model.metadata['training data']]
    model.metadata |= ensemble(model, [load_reference(given.references / name) for name in names], given.members)
    # belongs to the file that was read
    model.metadata.pop('sha256', None)
    save_potential(model, given.output)
    found = model.metadata[UNCERTAINTY]
    print(f'{found["n_members"]} members, calibrated on {found["calibrated on"]}')
    print(
        f'rms error of frequencies {found["rms error there in THz"]:.3f} THz, '
        f'rms spread {found["rms spread there in THz"]:.3f} THz'
    )


if __name__ == '__main__':
    main()
