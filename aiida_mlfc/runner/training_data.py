"""Force sets of a training job: read, checked like every other reference, split; what is bad is named."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from phonopy import Phonopy

from aiida_mlfc.core.force_constants.record import ForceConstants
from aiida_mlfc.core.potentials.training.references import Reference
from aiida_mlfc.core.references.assembling import fitted
from aiida_mlfc.core.references.force_sets import ForceSets, ReferenceError, from_dataset
from aiida_mlfc.core.references.outliers import check_configurations
from aiida_mlfc.core.references.record import NOT_STATED
from aiida_mlfc.core.structures.cells import to_phonopy
from aiida_mlfc.exchange.job import structure_from_arrays
from aiida_mlfc.runner.card import SYMPREC, described

#: relative; volumes per atom of one crystal that differ by more belong to other functionals, or to a strained cell
SAME_VOLUME = 2e-3
#: Å; an atom that moves less does not move
_MOVED = 1e-5


@dataclass(frozen=True)
class Split:
    """One force set.

    :param learned: what is learned from.
    :param held_back: what errors are measured on; None where the configurations do not allow a split.
    """

    learned: Reference
    held_back: Reference | None


def read_force_set(inputs: Mapping[str, Any]) -> Reference:
    """A force set of a job, checked: finite, complete, forces that belong to the crystal.

    :param inputs: ``supercell``, ``primitive`` (structures), ``displacements``, ``forces``, ``source`` (JSON), and
        perhaps ``nac_params``.
    :raises ReferenceError: saying what is wrong with it.
    """
    supercell = structure_from_arrays(inputs['supercell'])
    dataset = {'displacements': inputs['displacements'], 'forces': inputs['forces']}
    sets = from_dataset(dataset, len(supercell))
    source = json.loads(inputs['source'])
    reference = Reference(
        source['name'],
        supercell,
        structure_from_arrays(inputs['primitive']),
        sets.displacements,
        sets.forces,
        inputs.get('nac_params'),
        source,
    )
    check_configurations(_fitted(reference), sets)
    return reference


def _fitted(reference: Reference) -> ForceConstants:
    """Force constants of a force set, its forces checked on the way."""
    matrix = (np.array(reference.primitive.cell) @ np.linalg.inv(np.array(reference.supercell.cell))).T
    phonon = Phonopy(
        to_phonopy(reference.supercell), np.eye(3, dtype=int), primitive_matrix=matrix, symprec=SYMPREC, log_level=0
    )
    moved = np.linalg.norm(reference.displacements, axis=2) > _MOVED
    # one displaced atom each: whether all directions are there can be said exactly
    one_atom = moved.argmax(axis=1) if (moved.sum(axis=1) == 1).all() else None
    sets = ForceSets(reference.displacements, reference.forces, one_atom, 0.0)
    array, quality, _, _ = fitted(phonon, sets, time.perf_counter())
    return ForceConstants(array, reference.supercell, np.eye(3, dtype=int), matrix, quality, None, SYMPREC, [phonon])


def split(reference: Reference, hold_back: bool) -> Split:
    """Every second configuration held back, where both halves determine the force constants."""
    if not hold_back or len(reference.forces) < 2:
        return Split(reference, None)
    learned, rest = reference.part(0), reference.part(1)
    try:
        for part in (learned, rest):
            _fitted(part)
    except ReferenceError:
        return Split(reference, None)
    return Split(learned, rest)


def check_mixture(references: Sequence[Reference]) -> None:
    """Refuse force sets that no potential can obey at once: of several functionals, or one crystal at two volumes.

    :raises ReferenceError: naming them.
    """
    by_functional: dict[str, list[str]] = {}
    for reference in references:
        stated = str(reference.source.get('functional') or NOT_STATED)
        if not stated.startswith(NOT_STATED):
            by_functional.setdefault(stated.split()[0], []).append(reference.name)
    if len(by_functional) > 1:
        listed = '; '.join(f'{functional}: {", ".join(names)}' for functional, names in by_functional.items())
        raise ReferenceError(f'force sets of different functionals are never learned together: {listed}')
    crystals: dict[tuple[str, str], Reference] = {}
    for reference in references:
        source = described(reference)
        other = crystals.setdefault((source['formula'], source['sg']), reference)
        volumes = [r.supercell.get_volume() / len(r.supercell) for r in (other, reference)]
        if abs(volumes[1] / volumes[0] - 1) > SAME_VOLUME:
            raise ReferenceError(
                f'{other.name} and {reference.name} are {source["formula"]} at volumes that differ by '
                f'{100 * abs(volumes[1] / volumes[0] - 1):.1f} %, each said to be without stress: sets of two '
                'functionals, or a strained cell; learn from one of them'
            )
