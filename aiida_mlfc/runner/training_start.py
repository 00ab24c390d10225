"""What a training starts from: a fresh dx for the data, or the weights of a potential that there is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols

from aiida_mlfc.core.checkpoint_files import resolve
from aiida_mlfc.core.checkpoint_header import sha256_of
from aiida_mlfc.core.potentials.dx.model import DXModel
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.registry import DTYPES, load_potential
from aiida_mlfc.core.potentials.training.defaults import crystal_systems, default_config, triplet_lengths
from aiida_mlfc.core.potentials.training.known_charges import known_charges
from aiida_mlfc.core.potentials.training.reference_energies import starting_energies
from aiida_mlfc.core.potentials.training.references import Reference
from aiida_mlfc.core.references.force_sets import ReferenceError
from aiida_mlfc.exchange.training_options import TrainOptions

#: of a network beside an expansion, eV: what is left to learn is small, and so are its steps
ENERGY_SCALE = 0.5


def starting_model(
    references: Sequence[Reference], options: TrainOptions, job_folder: Path
) -> tuple[EnergyModel, dict[str, Any]]:
    """The model before the first step, in the floating type of the training.

    :param job_folder: where a file named by ``foundation_model`` lies.
    :return: the model, and what the card says of its start: ``foundation model`` with name and sha256, or nothing.
    :raises ReferenceError: if the potential to start from does not know an element of the data.
    """
    dtype = DTYPES[options.default_dtype]
    torch.manual_seed(options.seed)
    if options.foundation_model is None:
        changes = options.model_changes()
        if options.expansion:
            systems = changes.get('expansion_systems') or crystal_systems(references)
            lengths = triplet_lengths(systems, **changes)
            changes = {'expansion_systems': systems, 'energy_scale': ENERGY_SCALE, **lengths, **changes}
        model = DXModel(default_config(references, **changes))
        if model.expansion is not None:
            # The network begins with nothing to say: it learns what the expansion leaves.
            model.silence()
        energies = starting_energies(references, model.species, options.reference_energies())
        if energies is not None:
            model.reference_energies.copy_(torch.as_tensor(energies))
        if model.electrostatics is not None:
            charges = known_charges(references, model.species)
            if charges is not None:
                # What is known need not be learned: the network is left with what is short-ranged.
                model.electrostatics.give(charges, 'Born charges and dielectric tensors of the training data')
        return model.to(dtype).to(options.device), {}
    beside = job_folder / options.foundation_model
    path = beside if beside.is_file() else resolve(options.foundation_model)
    found = load_potential(path, dtype, options.device)
    unknown = sorted({int(z) for r in references for z in np.unique(r.primitive.numbers)} - set(found.species))
    if unknown:
        names = ', '.join(chemical_symbols[z] for z in unknown)
        raise ReferenceError(f'{options.foundation_model} does not know {names}: leave them out, or start from nothing')
    start = {'name': found.metadata.get('name', path.stem), 'sha256': sha256_of(path)}
    return found.requires_grad_(True).train(), {'foundation model': start}
