"""Force constants alone in a training job: they are labels as they stand, and there is nothing of them to hold back."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from phonopy import Phonopy

from aiida_mlfc.core.potentials.training.recipe import Recipe
from aiida_mlfc.core.potentials.training.references import Reference
from aiida_mlfc.core.references.force_sets import ReferenceError
from aiida_mlfc.core.references.given_constants import NOTABLE_RESIDUAL, symmetrised
from aiida_mlfc.core.structures.cells import to_phonopy
from aiida_mlfc.exchange.job import structure_from_arrays
from aiida_mlfc.exchange.training_inputs import TAKEN_OFF
from aiida_mlfc.runner.card import SYMPREC


def read_force_constants(inputs: Mapping[str, Any]) -> Reference:
    """Force constants of a job, checked: finite, complete, of this crystal, in eV/Å².

    :param inputs: ``supercell``, ``primitive`` (structures), ``force_constants`` (compact), ``rows`` (their atoms in
        the supercell), ``source`` (JSON), and perhaps ``nac_params``.
    :raises ReferenceError: saying what is wrong with them.
    """
    supercell, primitive = (structure_from_arrays(inputs[name]) for name in ('supercell', 'primitive'))
    source = json.loads(inputs['source'])
    phonon = phonon_of(supercell, primitive)
    rows = np.asarray(inputs['rows'])
    if not np.array_equal(rows, phonon.primitive.p2s_map):
        raise ReferenceError(
            f'the force constants are of the atoms {rows.tolist()} of the supercell, wanted '
            f'{np.array(phonon.primitive.p2s_map).tolist()}, the primitive cell that phonopy finds in it'
        )
    found = symmetrised(phonon, np.asarray(inputs['force_constants'], dtype=float), source['name'])
    # where they were symmetrised before, it is known what that took away
    removed = max(found.removed, float(source.get(TAKEN_OFF, 0.0)))
    if removed > NOTABLE_RESIDUAL:
        print(
            f'{source["name"]}: {100 * removed:.1f} % of the force constants broke space group, permutation or sum '
            'rule and are taken off',
            file=sys.stderr,
        )
    source = {**source, TAKEN_OFF: removed}
    return Reference.of_constants(source['name'], supercell, primitive, found.array, inputs.get('nac_params'), source)


def phonon_of(supercell: Any, primitive: Any) -> Phonopy:
    """Phonopy with a supercell as it is, and its primitive cell.

    :param supercell: ASE's ``Atoms``; likewise ``primitive``.
    """
    matrix = (np.array(primitive.cell) @ np.linalg.inv(np.array(supercell.cell))).T
    cells = to_phonopy(supercell)
    return Phonopy(cells, np.eye(3, dtype=int), primitive_matrix=matrix, symprec=SYMPREC, log_level=0)


def check_learnable(references: Sequence[Reference], recipe: Recipe, valid_fraction: float) -> None:
    """Refuse settings that force constants alone cannot serve.

    :param references: that are learned from.
    :raises ReferenceError: naming them and the setting.
    """
    alone = [reference.name for reference in references if reference.constants is not None]
    if alone and not recipe.folded:
        raise ReferenceError(
            f'recipe.folded false learns from displaced supercells alone, and {", ".join(alone)} has none, it holds '
            'force constants: leave it out, or folded true'
        )
    if valid_fraction and len(alone) == len(references):
        raise ReferenceError(
            f'valid_fraction {valid_fraction:g}: {", ".join(alone)} holds force constants and no configurations that '
            'could be set aside: take 0'
        )
