"""Irreducible displacement directions in, symmetry-expanded compact force constants out; phonopy does the group theory.

The response to a displacement is linear here (an exact derivative, or a central difference that stands for one), so the
minimal set without plus and minus is enough, at unit length.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from ase import Atoms
from phonopy import Phonopy

from aiida_mlfc.core.force_constants.light_phonopy import LightPhonopy
from aiida_mlfc.core.force_constants.record import ForceConstants, Quality
from aiida_mlfc.core.force_constants.sum_rules import acoustic_sum_residual, permutation_asymmetry
from aiida_mlfc.core.structures.cells import to_ase, to_phonopy
from aiida_mlfc.core.structures.checks import StructureError

#: displacement length handed to phonopy, Å: with 1 the responses are -Φ u themselves
UNIT_LENGTH = 1.0


@dataclass(frozen=True)
class Setup:
    """A crystal with its supercell; the symmetry of the supercell is searched when directions are asked for.

    :param phonon: unit cell, supercell and primitive cell, without that symmetry.
    """

    phonon: LightPhonopy
    symprec: float

    @property
    def supercell(self) -> Atoms:
        """The perfect supercell in phonopy's order."""
        return to_ase(self.phonon.supercell)

    @property
    def primitive(self) -> Atoms:
        """phonopy's primitive cell, atoms where they are in the supercell."""
        return to_ase(self.phonon.primitive)

    @property
    def atoms(self) -> np.ndarray:
        """Supercell index of each displaced atom, shape ``(n_directions,)``."""
        return np.array([entry['number'] for entry in _displacements(self.searched)])

    @property
    def directions(self) -> np.ndarray:
        """Unit vectors, Cartesian, shape ``(n_directions, 3)``."""
        return np.array([entry['displacement'] for entry in _displacements(self.searched)]) / UNIT_LENGTH

    @cached_property
    def fewest_directions(self) -> int:
        """Directions that the symmetry of the primitive cell leaves; a supercell of other shape leaves more."""
        return len(_displacements(Phonopy(self.phonon.primitive, np.eye(3, dtype=int), 'P', self.symprec, log_level=0)))

    @cached_property
    def searched(self) -> Phonopy:
        """The same with the symmetry of the supercell, which takes seconds from some hundred atoms on."""
        phonon = self.phonon
        return Phonopy(
            phonon.unitcell, phonon.supercell_matrix, phonon.primitive_matrix, symprec=self.symprec, log_level=0
        )


def _displacements(phonon: Phonopy) -> list[dict[str, Any]]:
    if phonon.dataset is None:
        phonon.generate_displacements(distance=UNIT_LENGTH, is_plusminus=False)
    return list(phonon.dataset['first_atoms'])


def set_up(
    structure: Atoms,
    supercell_matrix: np.ndarray,
    primitive_matrix: np.ndarray | str = 'auto',
    symprec: float = 1e-5,
) -> Setup:
    """Build the supercell; its symmetry and the irreducible directions follow when they are asked for.

    :param structure: the unit cell.
    :param supercell_matrix: shape ``(3, 3)`` or three diagonal integers.
    :param primitive_matrix: shape ``(3, 3)``, or phonopy's ``auto``, ``P``, ``F``...
    :param symprec: Å.
    :raises StructureError: for a left-handed cell, or atoms of different mass that the primitive cell takes for one.
    """
    # phonopy finds no primitive cell of such a one, and what it adds for Born charges is wrong, with no error.
    if np.linalg.det(np.array(structure.cell)) < 0:
        raise StructureError(
            'the lattice vectors are left-handed, wanted right-handed ones: atoms.set_cell(-atoms.cell) turns all '
            'three round, which is the same crystal'
        )
    cell = to_phonopy(structure)
    if isinstance(primitive_matrix, str) and primitive_matrix == 'auto':
        from phonopy.structure.cells import guess_primitive_matrix

        primitive_matrix = guess_primitive_matrix(cell, symprec=symprec)
    setup = Setup(LightPhonopy(cell, supercell_matrix, primitive_matrix, symprec=symprec, log_level=0), symprec)
    _check_masses(setup.phonon)
    return setup


def _check_masses(phonon: Phonopy) -> None:
    """Refuse isotopes that the translations of the primitive cell mix: one mass would stand for all."""
    primitive, supercell = phonon.primitive, phonon.supercell
    taken = primitive.masses[[primitive.p2p_map[atom] for atom in primitive.s2p_map]]
    differ = np.flatnonzero(~np.isclose(supercell.masses, taken, rtol=1e-6))
    if differ.size:
        raise StructureError(
            f'atoms with the masses {taken[differ[0]]} and {supercell.masses[differ[0]]} are one atom of the primitive '
            "cell: give primitive_matrix='P', which keeps the cell as it is, or equal masses"
        )


def from_responses(
    setup: Setup,
    responses: np.ndarray,
    forces_at_rest: np.ndarray,
    measured: dict[str, Any],
    nac_params: dict[str, Any] | None = None,
) -> ForceConstants:
    """Expand responses -Φ u to compact force constants; nothing is symmetrised beyond the expansion itself.

    :param responses: shape ``(n_directions, n_super, 3)``, eV/Å².
    :param forces_at_rest: shape ``(n_super, 3)``, eV/Å.
    :param measured: method, dtype, seconds, peak_memory (and distance) for the quality record.
    :raises ValueError: if the shapes do not fit the setup, or a response is not finite.
    """
    expected = (len(setup.directions), len(setup.phonon.supercell), 3)
    if responses.shape != expected:
        raise ValueError(
            f'responses: got shape {responses.shape}, wanted {expected} (directions, supercell atoms, xyz)'
        )
    if not (np.isfinite(responses).all() and np.isfinite(forces_at_rest).all()):
        raise ValueError('the potential returned derivatives that are not finite numbers')
    phonon = setup.searched
    dataset = copy.deepcopy(phonon.dataset)
    for entry, response in zip(dataset['first_atoms'], responses, strict=True):
        entry['forces'] = response * UNIT_LENGTH
    phonon.dataset = dataset
    phonon.produce_force_constants(calculate_full_force_constants=False, fc_calculator='traditional', show_drift=False)
    return finished(setup, np.array(phonon.force_constants), forces_at_rest, len(responses), measured, nac_params)


def finished(
    setup: Setup,
    array: np.ndarray,
    forces_at_rest: np.ndarray,
    n_directions: int,
    measured: dict[str, Any],
    nac_params: dict[str, Any] | None = None,
) -> ForceConstants:
    """The record of compact force constants, with what is measured on them before any correction.

    :param array: shape ``(n_prim, n_super, 3, 3)``, eV/Å².
    """
    phonon = setup.phonon
    phonon.force_constants = array
    if nac_params is not None:
        phonon.nac_params = nac_params
    quality = Quality(
        permutation_asymmetry=permutation_asymmetry(array, phonon.primitive),
        acoustic_sum_residual=acoustic_sum_residual(array),
        max_residual_force=float(np.abs(forces_at_rest).max()),
        n_directions=n_directions,
        **measured,
    )
    return ForceConstants(
        array=array,
        unitcell=to_ase(phonon.unitcell),
        supercell_matrix=np.array(phonon.supercell_matrix),
        primitive_matrix=np.array(phonon.primitive_matrix),
        quality=quality,
        nac_params=nac_params,
        symprec=setup.symprec,
        _light=[phonon],
    )
