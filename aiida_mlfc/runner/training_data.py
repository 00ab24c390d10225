"""Force sets of a training job: read, checked like every other reference, split; what is bad is named."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.io.ase import AseAtomsAdaptor

from aiida_mlfc.core.force_constants.record import ForceConstants
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.training.references import Reference
from aiida_mlfc.core.references.assembling import fitted
from aiida_mlfc.core.references.force_sets import ForceSets, ReferenceError, from_dataset
from aiida_mlfc.core.references.outliers import check_configurations
from aiida_mlfc.core.references.record import NOT_STATED
from aiida_mlfc.core.structures.formula import reduced_formula
from aiida_mlfc.exchange.job import structure_from_arrays
from aiida_mlfc.exchange.training_options import TrainOptions
from aiida_mlfc.runner.card import SYMPREC, described
from aiida_mlfc.runner.training_constants import phonon_of, read_force_constants

#: relative; volumes per atom of one crystal that differ by more belong to other functionals, or to a strained cell
SAME_VOLUME = 2e-3
#: decimals in which displacements (Å) and forces (eV/Å) of copies agree
_DIGITS = 6
#: Å; an atom that moves less does not move
_MOVED = 1e-5


@dataclass(frozen=True)
class Split:
    """One force set.

    :param learned: what is learned from.
    :param held_back: what errors are measured on; None where the configurations do not allow a split. Its force
        constants, and those of ``valid``, may be of more configurations, see :meth:`Reference.held_back`.
    :param valid: what is looked at during training; None where nothing was asked for.
    """

    learned: Reference
    held_back: Reference | None
    valid: Reference | None = None


def read_force_set(inputs: Mapping[str, Any]) -> Reference:
    """A force set of a job, checked: finite, complete, forces that belong to the crystal.

    :param inputs: ``supercell``, ``primitive`` (structures), ``displacements``, ``forces``, ``source`` (JSON), and
        perhaps ``nac_params``; or those of :func:`~aiida_mlfc.runner.training_constants.read_force_constants`.
    :raises ReferenceError: saying what is wrong with it.
    """
    if 'force_constants' in inputs:
        return read_force_constants(inputs)
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
        None if inputs.get('energies') is None else np.asarray(inputs['energies']),
    )
    reference = without_copies(reference)
    check_configurations(_fitted(reference), _sets(reference))
    return reference


def check_together(references: Sequence[Reference], splits: Sequence[Split]) -> None:
    """Refuse what cannot be learned together, or would be a test of what was learned.

    :param references: as they were read; ``splits`` what became of them.
    :raises ReferenceError: naming them.
    """
    check_mixture([split.learned for split in splits])
    check_copies(references)
    check_known_answers(splits)


def without_copies(reference: Reference) -> Reference:
    """Each configuration once: a copy would be a test of what was learned."""
    marks = _marks(reference)
    first = {mark: k for k, mark in reversed(list(enumerate(marks)))}
    kept = np.array(sorted(first.values()))
    if len(kept) == len(marks):
        return reference
    dropped = [f'{k + 1} (as {first[mark] + 1})' for k, mark in enumerate(marks) if first[mark] != k]
    print(f'{reference.name}: configurations that are there twice are left out: {", ".join(dropped)}', file=sys.stderr)
    return reference.chosen(kept)


def check_copies(references: Sequence[Reference]) -> None:
    """Refuse sets that share configurations, or force constants: what one holds back the other would learn.

    :raises ReferenceError: naming two of them.
    """
    owners: dict[bytes, str] = {}
    for reference in references:
        for k, mark in enumerate(_marks(reference)):
            other = owners.setdefault(mark, reference.name)
            if other != reference.name and reference.constants is not None:
                raise ReferenceError(f'{reference.name} and {other} hold the same force constants; leave one out')
            if other != reference.name:
                raise ReferenceError(
                    f'configuration {k + 1} of {reference.name} is also in {other}: one would learn what the other '
                    'holds back; leave one of the sets out'
                )


def _marks(reference: Reference) -> list[bytes]:
    """Equal for configurations that are equal in the digits that files have; likewise for given force constants."""
    atoms = np.asarray(reference.supercell.numbers, dtype=np.int64).tobytes()
    if reference.constants is not None:
        return [atoms + (np.round(reference.constants, _DIGITS) + 0.0).tobytes()]
    both = np.stack([reference.displacements, reference.forces], axis=1)
    # the sum turns -0.0 into 0.0
    return [atoms + (np.round(one, _DIGITS) + 0.0).tobytes() for one in both]


def _sets(reference: Reference) -> ForceSets:
    """Its displacements and forces as they are checked."""
    moved = np.linalg.norm(reference.displacements, axis=2) > _MOVED
    # one displaced atom each: whether all directions are there can be said exactly
    one_atom = moved.argmax(axis=1) if (moved.sum(axis=1) == 1).all() else None
    return ForceSets(reference.displacements, reference.forces, one_atom, 0.0)


def _fitted(reference: Reference) -> ForceConstants:
    """Force constants of a force set, its forces checked on the way."""
    phonon = phonon_of(reference.supercell, reference.primitive)
    array, quality, _, _ = fitted(phonon, _sets(reference), time.perf_counter())
    matrix = np.array(phonon.primitive_matrix)
    return ForceConstants(array, reference.supercell, np.eye(3, dtype=int), matrix, quality, None, SYMPREC, [phonon])


def split(reference: Reference, options: TrainOptions) -> Split:
    """Every second configuration held back, where both halves determine the force constants; some of the rest aside.

    Of force constants alone nothing is.

    :raises ReferenceError: if so few configurations were to be set aside, or would be left, that they determine
        nothing.
    """
    if reference.constants is not None:
        return Split(reference, None)
    learned, held_back = _half(reference) if options.hold_back else (reference, None)
    if not options.valid_fraction:
        return Split(learned, held_back)
    n = len(learned.forces)
    n_valid = max(1, round(options.valid_fraction * n))
    # in the middle of equal parts, not at their ends
    aside = np.unique(((np.arange(n_valid) + 0.5) * n / n_valid).astype(int))
    rest = np.setdiff1d(np.arange(n), aside)
    for numbers, what in ((aside, 'set aside to validate on'), (rest, 'left to learn from')):
        try:
            if not len(numbers):
                raise ReferenceError('there is none')
            _fitted(learned.chosen(numbers))
        except ReferenceError as error:
            raise ReferenceError(
                f'{reference.name}: valid_fraction {options.valid_fraction:g} of {n} configurations, {len(numbers)} '
                f'{what} do not determine force constants ({error}): take another fraction, or 0'
            ) from error
    return Split(learned.chosen(rest), held_back, learned.held_back(aside))


def _half(reference: Reference) -> tuple[Reference, Reference | None]:
    if len(reference.forces) < 2:
        return reference, None
    learned, rest = reference.part(0), reference.part(1)
    try:
        for part in (learned, rest):
            _fitted(part)
    except ReferenceError:
        return reference, None
    return learned, reference.held_back()


def materials_held_back(found: Mapping[str, Reference], names: Sequence[str]) -> dict[str, Reference]:
    """The force sets of these names, and all others of the same crystals: a supercell of what is learned is no test.

    :param found: by key.
    :param names: of force sets.
    :raises ReferenceError: for a name that no force set has.
    """
    if missing := sorted(set(names) - {reference.name for reference in found.values()}):
        raise ReferenceError(f'held_back_materials: no force set is called {", ".join(missing)}')
    chosen = [reference for reference in found.values() if reference.name in names]
    return {key: r for key, r in found.items() if any(r is other or is_same_crystal(r, other) for other in chosen)}


def is_same_crystal(one: Reference, other: Reference) -> bool:
    """Whether two sets are of one crystal, whatever their supercells and volumes."""
    if reduced_formula(one.primitive) != reduced_formula(other.primitive):
        return False
    first, second = (AseAtomsAdaptor.get_structure(reference.primitive) for reference in (one, other))
    return bool(StructureMatcher(primitive_cell=True, scale=True).fit(first, second))


def check_known_answers(splits: Sequence[Split]) -> None:
    """Refuse force constants of a crystal beside configurations of it that are held back: they give the answer.

    :raises ReferenceError: naming both.
    """
    for one in (split.learned for split in splits if split.learned.constants is not None):
        for other in (split.learned for split in splits if split.held_back is not None or split.valid is not None):
            if len(one.supercell) == len(other.supercell) and is_same_crystal(one, other):
                raise ReferenceError(
                    f'{one.name} holds force constants of the crystal of {other.name} in a supercell of the same size: '
                    f'what {other.name} holds back would not be unseen; leave one of them out, or hold nothing back'
                )


def check_elements(model: EnergyModel, reference: Reference) -> None:
    """Refuse a material to be held back of which the model does not know the elements.

    :raises ReferenceError: naming them.
    """
    unknown = sorted({int(z) for z in reference.primitive.numbers} - set(model.species))
    if unknown:
        symbols = ', '.join(chemical_symbols[z] for z in unknown)
        raise ReferenceError(f'{reference.name} is held back, and nothing that is learned holds {symbols}')


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
