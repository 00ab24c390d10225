"""References with the displaced configurations behind them: those phonopy's files hold, or all of ``configs.extxyz``.

A folder may hold a minimal set in phonopy's file and every labelled configuration beside it as extended XYZ; then the
latter are what is learned from and measured on. Where there is no phonopy file, the perfect supercell is the mean of
the configurations, on the symmetry that it shows.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read
from phonopy import Phonopy

from aiida_mlfc.core.force_constants.record import ForceConstants
from aiida_mlfc.core.references.assembling import fitted, metadata, source_of
from aiida_mlfc.core.references.files import plain_name, text_of
from aiida_mlfc.core.references.finding import Candidate, find
from aiida_mlfc.core.references.fitting import beside_third_order
from aiida_mlfc.core.references.force_sets import ForceSets, ReferenceError, from_dataset
from aiida_mlfc.core.references.outliers import check_configurations
from aiida_mlfc.core.references.reading import read_reference, read_references
from aiida_mlfc.core.references.record import Reference, Refusal
from aiida_mlfc.core.references.settings import Settings
from aiida_mlfc.core.structures.averaging import EXACT_SYMPREC, perfect_supercell, primitive_matrix_of
from aiida_mlfc.core.structures.cells import to_ase, to_phonopy
from aiida_mlfc.core.structures.mirrors import HARMONIC_DISPLACEMENT, are_biased

CONFIGURATIONS = 'configs.extxyz'
#: fewer displaced supercells do not show where atoms would stand undisplaced
FEWEST_TO_AVERAGE = 10
#: Å; lattice vectors of a configuration and of the perfect supercell
SAME_CELL = 1e-3
#: arrays that hold the forces where the standard name does not
_FORCE_ARRAYS = ('forces', 'REF_forces', 'dft_forces')
_ENERGY_KEYS = ('energy', 'REF_energy', 'dft_energy')


def read_configurations(paths: Sequence[Path | str], settings: Settings | None = None) -> Iterator[Reference | Refusal]:
    """Every reference in files, folders and archives, with ``sets`` where there are any; see :func:`read_references`.

    :raises FileNotFoundError: for a path that does not exist.
    """
    for path in map(Path, paths):
        if path.is_file() and plain_name(path.name).lower().endswith('.extxyz'):
            yield _guarded(Candidate(plain_name(path.name).rpartition('.')[0], path), path, settings)
            continue
        for candidate in find(path):
            beside = None if candidate.archive else _extended_xyz(candidate.path)
            if candidate.archive:
                yield from read_references([candidate.path], settings)
            elif beside is None or (set(candidate.files) == {'yaml'} and candidate.path.is_file()):
                try:
                    yield _checked(read_reference(candidate, settings))
                except ReferenceError as error:
                    yield Refusal(candidate.name, candidate.path, str(error))
            else:
                yield _guarded(candidate, beside, settings)


def held_back(reference: Reference, start: int = 1, step: int = 2) -> Reference:
    """Every ``step``-th configuration from ``start`` on, and force constants fitted to these alone.

    By the habit of this package 0, 2, 4 ... are learned from and 1, 3, 5 ... are held back. Where they are mirrors (-u)
    of the others the force constants stay those of all: of one side alone they have third order in them, unless that is
    fitted along.

    :raises ReferenceError: if there are no configurations, or these few do not determine the force constants.
    """
    if reference.sets is None:
        raise ReferenceError('holds force constants, no configurations that could be held back')
    if len(reference.sets.forces) <= start:
        raise ReferenceError('has a single configuration: there is none to hold back')
    chosen = slice(start, None, step)
    sets = replace(
        reference.sets,
        displacements=reference.sets.displacements[chosen],
        forces=reference.sets.forces[chosen],
        one_atom=None if reference.sets.one_atom is None else reference.sets.one_atom[chosen],
        energies=None if reference.sets.energies is None else reference.sets.energies[chosen],
    )
    part = refitted(reference, sets)
    others = np.delete(reference.sets.displacements, chosen, axis=0)
    if are_biased(sets.displacements, others):
        return replace(reference, sets=sets, is_of_more=True)
    return part


def refitted(reference: Reference, sets: ForceSets) -> Reference:
    """The same crystal with force constants of other configurations.

    Where displacements are large, third order is fitted along, so that it does not leak into the second.
    """
    phonon = reference.force_constants.to_phonopy()
    array, quality, checks, content = fitted(phonon, sets, time.perf_counter())
    if np.linalg.norm(sets.displacements, axis=2).max() > HARMONIC_DISPLACEMENT:
        array, content = beside_third_order(phonon, sets), 'force sets, third order fitted along'
    force_constants = replace(reference.force_constants, array=array, quality=quality)
    # A Phonopy of its own: phonopy keeps the force constants that were set last.
    force_constants._phonopy.clear()
    source = replace(reference.source, content=content)
    return Reference(reference.name, force_constants, source, checks, sets)


def _checked(reference: Reference) -> Reference:
    if reference.sets is None:
        return reference
    check_configurations(reference.force_constants, reference.sets)
    large = np.linalg.norm(reference.sets.displacements, axis=2).max() > HARMONIC_DISPLACEMENT
    return refitted(reference, reference.sets) if large else reference


def _extended_xyz(folder: Path) -> Path | None:
    if not folder.is_dir():
        folder = folder.parent
    return next((p for p in sorted(folder.iterdir()) if plain_name(p.name) == CONFIGURATIONS and p.is_file()), None)


def _guarded(candidate: Candidate, path: Path, settings: Settings | None) -> Reference | Refusal:
    """One reference with its extended XYZ; whatever is wrong with it stays with it."""
    try:
        configurations = _configurations(path)
        if candidate.error or not candidate.files:
            return _averaged(candidate, path, configurations, settings or Settings())
        return _with_configurations(read_reference(candidate, settings), path, configurations)
    except ReferenceError as error:
        return Refusal(candidate.name, candidate.path, str(error))
    except Exception as error:  # noqa: BLE001 (one broken reference must not take the others with it)
        text = ' '.join(str(error).split())[:200]
        return Refusal(candidate.name, candidate.path, f'cannot be read ({type(error).__name__}: {text})')


def _configurations(path: Path) -> list[Atoms]:
    try:
        found = read(io.StringIO(text_of(path)), ':', format='extxyz')
    except ReferenceError:
        raise
    except Exception as error:  # readers of files raise whatever they like
        raise ReferenceError(f'{path.name} is no extended XYZ: {" ".join(str(error).split())[:200]}') from error
    if not found:
        raise ReferenceError(f'{path.name} holds no configuration')
    return list(found)


def _forces_of(atoms: Atoms, k: int) -> np.ndarray:
    if atoms.calc is not None and 'forces' in atoms.calc.results:
        return np.asarray(atoms.calc.results['forces'])
    for name in _FORCE_ARRAYS:
        if name in atoms.arrays:
            return np.asarray(atoms.arrays[name])
    raise ReferenceError(f'configuration {k + 1} has no forces, wanted an array {" or ".join(_FORCE_ARRAYS)}')


def _energy_of(atoms: Atoms) -> float | None:
    if atoms.calc is not None and 'energy' in atoms.calc.results:
        return float(atoms.calc.results['energy'])
    return next((float(atoms.info[name]) for name in _ENERGY_KEYS if name in atoms.info), None)


def _sets(supercell: Atoms, configurations: list[Atoms]) -> ForceSets:
    """Displacements from the perfect supercell, and forces.

    :raises ReferenceError: if a configuration is not that supercell, atom by atom.
    """
    lattice = np.array(supercell.cell)
    inverse = np.linalg.inv(lattice)
    displacements, forces = [], []
    for k, configuration in enumerate(configurations):
        if not np.array_equal(configuration.numbers, supercell.numbers):
            raise ReferenceError(
                f'configuration {k + 1} holds {configuration.symbols}, wanted the atoms of the perfect supercell in '
                f'their order, {supercell.symbols}'
            )
        if np.abs(np.array(configuration.cell) - lattice).max() > SAME_CELL:
            raise ReferenceError(f'configuration {k + 1} has another cell than the perfect supercell')
        shift = (configuration.positions - supercell.positions) @ inverse
        displacements.append((shift - np.rint(shift)) @ lattice)
        forces.append(_forces_of(configuration, k))
    dataset = {'displacements': np.array(displacements), 'forces': np.array(forces)}
    if None not in (energies := [_energy_of(atoms) for atoms in configurations]):
        dataset['supercell_energies'] = np.array(energies)
    return from_dataset(dataset, len(supercell))


def _with_configurations(reference: Reference, path: Path, configurations: list[Atoms]) -> Reference:
    supercell = to_ase(reference.force_constants.to_phonopy().supercell)
    # Third-order sets come with a smaller supercell of their own: what is not of this size is another set.
    configurations = [atoms for atoms in configurations if len(atoms) == len(supercell)]
    if not configurations:
        return reference
    sets = _sets(supercell, configurations)
    known = reference.sets
    if known is not None and len(known.forces) == len(sets.forces) and _same(known, sets):
        return _checked(reference)
    found = refitted(reference, sets)
    check_configurations(found.force_constants, found.sets)
    more = source_of(path, {path.name: path}, {}, Settings(), 'force sets').sha256
    return replace(found, source=replace(found.source, sha256={**found.source.sha256, **more}))


def _same(one: ForceSets, other: ForceSets) -> bool:
    """Whether two files hold the same configurations in the same order, up to the digits they are written with."""
    return bool(
        np.allclose(one.displacements, other.displacements, atol=1e-6)
        and np.allclose(one.forces, other.forces, atol=1e-6)
    )


def _averaged(candidate: Candidate, path: Path, configurations: list[Atoms], settings: Settings) -> Reference:
    if len(configurations) < FEWEST_TO_AVERAGE:
        raise ReferenceError(
            f'holds {len(configurations)} configurations but no perfect supercell: phonopy_params.yaml is missing, or '
            f'at least {FEWEST_TO_AVERAGE} configurations, whose mean would show it'
        )
    for k, configuration in enumerate(configurations):
        if not np.array_equal(configuration.numbers, configurations[0].numbers):
            raise ReferenceError(f'configuration {k + 1} holds {configuration.symbols}, not the atoms of the first')
    started = time.perf_counter()
    supercell = perfect_supercell(configurations)
    symprec = settings.symprec or EXACT_SYMPREC
    phonon = Phonopy(
        to_phonopy(supercell), np.eye(3, dtype=int), primitive_matrix_of(supercell), symprec=symprec, log_level=0
    )
    sets = _sets(supercell, configurations)
    array, quality, checks, content = fitted(phonon, sets, started)
    force_constants = ForceConstants(
        array=array,
        unitcell=supercell,
        supercell_matrix=np.eye(3, dtype=int),
        primitive_matrix=np.array(phonon.primitive_matrix),
        quality=quality,
        symprec=symprec,
        _phonopy=[phonon],
    )
    beside = path.with_name('meta.json')
    meta = metadata(replace(candidate, files={'meta': beside} if beside.is_file() else {}))
    source = source_of(candidate.path, {path.name: path}, meta, settings, content)
    return _checked(Reference(candidate.name, force_constants, source, checks, sets))
