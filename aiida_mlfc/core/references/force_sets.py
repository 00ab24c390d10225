"""Displacements and forces of a supercell: checked for what makes a fit meaningless before anything is fitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from phonopy import Phonopy

#: Å; beyond this a quadratic energy describes no crystal, what is fitted is an effective spring of a hot one
LARGEST_DISPLACEMENT = 0.1
#: Å; a configuration in which no atom moves says nothing about force constants
SMALLEST_DISPLACEMENT = 1e-5
#: eV/Å per atom; the forces of a configuration add up to zero. A sum this large is an error, not rounding
LARGEST_DRIFT = 0.05
#: eV/Å; forces of which none is larger, once their common sum is off, are none: files have eight digits
SMALLEST_FORCE = 1e-8


class ReferenceError(ValueError):
    """A reference cannot be used; the message says why."""


@dataclass(frozen=True)
class ForceSets:
    """Displaced configurations of one supercell.

    :param displacements: shape ``(n_configs, n_super, 3)``, Å, phonopy's order of atoms.
    :param forces: the same shape, eV/Å, without their sum over atoms.
    :param one_atom: index of the atom displaced in each configuration, shape ``(n_configs,)``; None if several are.
    :param drift: largest component of a summed force before it was taken off, eV/Å.
    :param energies: of the configurations, shape ``(n_configs,)``, eV; None unless all are known.
    """

    displacements: np.ndarray
    forces: np.ndarray
    one_atom: np.ndarray | None
    drift: float
    energies: np.ndarray | None = None


def has_forces(dataset: dict[str, Any]) -> bool:
    """Whether a data set of phonopy, of either type, holds forces."""
    if 'first_atoms' in dataset:
        return any('forces' in entry for entry in dataset['first_atoms'])
    return dataset.get('forces') is not None


def from_dataset(dataset: dict[str, Any] | None, n_super: int) -> ForceSets:
    """Phonopy's dataset of either type as arrays.

    :param n_super: atoms of the supercell.
    :raises ReferenceError: if forces are missing, not finite, all zero, of another number of atoms, or displacements
        too large.
    """
    if not dataset:
        raise ReferenceError('there are neither force constants nor displacements with forces')
    one_atom: np.ndarray | None = None
    if 'first_atoms' in dataset:
        displacements, forces, one_atom = _one_by_one(dataset['first_atoms'], n_super)
    else:
        displacements, forces = _random(dataset, n_super)
    _check_displacements(displacements)
    # A uniform force is no response of a crystal: grids of plane-wave codes make it.
    drift = forces.mean(axis=1, keepdims=True)
    if (largest := float(np.abs(drift).max())) > LARGEST_DRIFT:
        raise ReferenceError(
            f'the forces of a configuration add up to {largest:.2g} eV/Å for each atom, wanted less than '
            f'{LARGEST_DRIFT}: are atoms missing, or is the order of columns another?'
        )
    forces = forces - drift
    if np.abs(forces).max() < SMALLEST_FORCE:
        raise ReferenceError(
            f'all forces of the {len(forces)} configurations are zero, wanted those of a crystal with displaced atoms: '
            'are they placeholders of calculations that never ran?'
        )
    return ForceSets(displacements, forces, one_atom, largest * n_super, _energies(dataset))


def _energies(dataset: dict[str, Any]) -> np.ndarray | None:
    """Energies of all configurations under phonopy's names, if they are there and finite numbers."""
    if 'first_atoms' in dataset:
        found = [entry.get('supercell_energy') for entry in dataset['first_atoms']]
    else:
        found = list(dataset.get('supercell_energies', ()))
    if not found or any(energy is None for energy in found):
        return None
    energies = np.asarray(found, dtype=float)
    if not np.isfinite(energies).all():
        raise ReferenceError('an energy is not a finite number')
    return energies


def _one_by_one(entries: list[dict[str, Any]], n_super: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One displaced atom for each configuration (phonopy's type 1)."""
    if not entries:
        raise ReferenceError('the displacement data set is empty')
    displacements = np.zeros((len(entries), n_super, 3))
    forces, atoms = np.zeros_like(displacements), []
    for k, entry in enumerate(entries):
        number = int(entry['number'])
        if not 0 <= number < n_super:
            raise ReferenceError(f'displacement {k + 1} moves atom {number + 1}, the supercell has {n_super} atoms')
        if 'forces' not in entry:
            missing = sum('forces' not in e for e in entries)
            raise ReferenceError(
                f'{missing} of {len(entries)} displacements have no forces, displacement {k + 1} first'
            )
        forces[k] = checked_forces(entry['forces'], n_super, k)
        displacements[k, number] = entry['displacement']
        atoms.append(number)
    return displacements, forces, np.array(atoms)


def _random(dataset: dict[str, Any], n_super: int) -> tuple[np.ndarray, np.ndarray]:
    """All atoms displaced in every configuration (phonopy's type 2)."""
    if dataset.get('displacements') is None:
        raise ReferenceError('there are neither force constants nor displacements')
    if dataset.get('forces') is None:
        raise ReferenceError('the displacements have no forces')
    displacements, forces = np.asarray(dataset['displacements'], float), np.asarray(dataset['forces'], float)
    if len(displacements) != len(forces):
        raise ReferenceError(f'{len(displacements)} configurations are displaced, {len(forces)} have forces')
    for name, values in (('displacements', displacements), ('forces', forces)):
        if values.ndim != 3 or values.shape[1:] != (n_super, 3):
            raise ReferenceError(
                f'{name} have shape {values.shape}, wanted (configurations, {n_super}, 3): another supercell?'
            )
    for k, values in enumerate(forces):
        checked_forces(values, n_super, k)
    return displacements, forces


def checked_forces(forces: Any, n_super: int, k: int) -> np.ndarray:
    """Forces of configuration ``k``, from 0, as an array of shape ``(n_super, 3)``.

    :raises ReferenceError: if they are no finite numbers, or of another number of atoms.
    """
    try:
        values = np.asarray(forces, dtype=float)
    except (TypeError, ValueError) as error:
        raise ReferenceError(f'the forces of configuration {k + 1} are no numbers: {error}') from error
    if values.shape != (n_super, 3):
        raise ReferenceError(
            f'configuration {k + 1} has forces of shape {values.shape}, wanted ({n_super}, 3): another supercell?'
        )
    if not np.isfinite(values).all():
        atom = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise ReferenceError(f'the force on atom {atom + 1} of configuration {k + 1} is not a finite number')
    return values


def _check_displacements(displacements: np.ndarray) -> None:
    if not np.isfinite(displacements).all():
        raise ReferenceError('a displacement is not a finite number')
    lengths = np.linalg.norm(displacements, axis=2).max(axis=1)
    if lengths.max() > LARGEST_DISPLACEMENT:
        raise ReferenceError(
            f'atoms are displaced by up to {lengths.max():.3g} Å, wanted at most {LARGEST_DISPLACEMENT} Å: '
            'what can be fitted to that is an effective spring, not a second derivative'
        )
    if lengths.min() < SMALLEST_DISPLACEMENT:
        raise ReferenceError(f'configuration {int(lengths.argmin()) + 1} displaces no atom')


def check_enough(sets: ForceSets, phonon: Phonopy) -> None:
    """Refuse displacements that, with all their symmetry images, do not reach every atom in three directions.

    :raises ReferenceError: naming the atom whose force constants would be free.
    """
    if sets.one_atom is None:
        return
    symmetry = phonon.symmetry
    rotations = np.asarray(symmetry.symmetry_operations['rotations'])
    lattice = np.array(phonon.supercell.cell).T
    cartesian = lattice @ rotations @ np.linalg.inv(lattice)
    images: dict[int, list[np.ndarray]] = {}
    for atom, u in zip(sets.one_atom, sets.displacements, strict=True):
        for rotation, permutation in zip(cartesian, symmetry.atomic_permutations, strict=True):
            images.setdefault(int(permutation[atom]), []).append(rotation @ u[atom])
    for atom in symmetry.get_independent_atoms():
        rank = np.linalg.matrix_rank(np.array(images[int(atom)]), tol=1e-4) if int(atom) in images else 0
        if rank < 3:
            raise ReferenceError(
                f'atom {int(atom) + 1} ({phonon.supercell.symbols[atom]}) is displaced in {rank} of 3 directions, '
                'symmetry included: displacements are missing'
            )
