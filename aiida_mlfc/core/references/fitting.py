"""Force sets to force constants: least squares with every symmetry imposed at once, by symfc.

Space group, permutation and the acoustic sum rule are built into the basis (Seko and Togo, Phys. Rev. B 110, 214302
(2024)): the result is symmetrised as ``symmetrising.projected`` symmetrises any other set of force constants.
Forces that the undisplaced crystal has already, as far as symmetry allows them, are fitted along and taken off.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from phonopy import Phonopy
from phonopy.interface.symfc import SymfcFCSolver
from symfc import Symfc

from aiida_mlfc.core.force_constants.symmetrising import exact_supercell
from aiida_mlfc.core.references.force_sets import ForceSets, ReferenceError, check_enough
from aiida_mlfc.core.structures.mirrors import HARMONIC_DISPLACEMENT

#: forces at rest and force constants are fitted in turn; they are nearly orthogonal, so few rounds converge
ROUNDS = 3
#: eV/Å; smaller forces at rest do not change anything that is quoted
NEGLIGIBLE_FORCE = 1e-7


@dataclass(frozen=True)
class Fit:
    """Fitted force constants and what they leave unexplained.

    :param array: compact, shape ``(n_prim, n_super, 3, 3)``, eV/Å².
    :param at_rest: forces of the undisplaced supercell, shape ``(n_super, 3)``, eV/Å.
    :param forces: what was fitted, without ``at_rest``, shape ``(n_configs, n_super, 3)``, eV/Å.
    :param predicted: -Φu, the same shape.
    """

    array: np.ndarray
    at_rest: np.ndarray
    forces: np.ndarray
    predicted: np.ndarray

    @property
    def relative_residual(self) -> float:
        """Norm of what is left over that of the forces."""
        return float(np.linalg.norm(self.forces - self.predicted) / np.linalg.norm(self.forces))


def fit(phonon: Phonopy, sets: ForceSets) -> Fit:
    """Fit force constants.

    :param phonon: supercell, primitive cell and symmetry.
    :raises ReferenceError: if there are too few configurations.
    """
    check_enough(sets, phonon)
    if not np.abs(sets.forces).max() > 0:
        raise ReferenceError('all forces are zero')
    solver = SymfcFCSolver(exact_supercell(phonon), symmetry=phonon.symmetry)
    symfc = solver._symfc
    solver.compute_basis_set(orders=[2])
    n_free, n_data = symfc.basis_set[2].blocked_basis_set.shape[1], sets.forces.size
    if n_free > n_data:
        raise ReferenceError(f'{n_data} force components for {n_free} free force constants: displacements are missing')
    if sets.one_atom is None:
        symfc.displacements = sets.displacements
    else:
        symfc.atoms_fd = {2: sets.one_atom}
        symfc.displacements_fd = {2: sets.displacements[np.arange(len(sets.one_atom)), sets.one_atom]}
    at_rest = np.zeros_like(sets.forces[0])
    for _ in range(ROUNDS):
        forces = sets.forces - at_rest
        symfc.forces = forces
        with warnings.catch_warnings():
            warnings.simplefilter('error', RuntimeWarning)
            try:
                symfc.solve(orders=[2], is_compact_fc=False)
            except (np.linalg.LinAlgError, RuntimeWarning) as error:
                raise ReferenceError(f'the configurations do not determine the force constants ({error})') from error
        full = np.asarray(symfc.force_constants[2])
        predicted = -np.einsum('ijab,cjb->cia', full, sets.displacements)
        change = invariant_forces(phonon, (forces - predicted).mean(axis=0))
        if np.abs(change).max() < NEGLIGIBLE_FORCE:
            break
        at_rest = at_rest + change
    return Fit(full[phonon.primitive.p2s_map], at_rest, forces, predicted)


def beside_third_order(phonon: Phonopy, sets: ForceSets) -> np.ndarray:
    """Force constants of second order, third order fitted along with them.

    :return: compact, shape ``(n_prim, n_super, 3, 3)``, eV/Å².
    :raises ReferenceError: if there are more free constants than forces.
    """
    solver = Symfc(exact_supercell(phonon))
    solver.compute_basis_set(3)
    n_free = sum(solver.basis_set[order].blocked_basis_set.shape[1] for order in (2, 3))
    if n_free > sets.forces.size:
        raise ReferenceError(
            f'{sets.forces.size} force components for {n_free} free constants of second and third order, which '
            f'displacements above {HARMONIC_DISPLACEMENT} Å need: more configurations, or smaller displacements'
        )
    solver.displacements, solver.forces = sets.displacements, sets.forces
    with warnings.catch_warnings():
        warnings.simplefilter('error', RuntimeWarning)
        try:
            solver.solve(max_order=3, is_compact_fc=False)
        except (np.linalg.LinAlgError, RuntimeWarning) as error:
            raise ReferenceError(f'the configurations do not determine the force constants ({error})') from error
    return np.asarray(solver.force_constants[2])[phonon.primitive.p2s_map]


def invariant_forces(phonon: Phonopy, forces: np.ndarray) -> np.ndarray:
    """The part of forces on a supercell that its space group leaves as it is.

    :param forces: shape ``(n_super, 3)``, eV/Å.
    """
    symmetry = phonon.symmetry
    lattice = np.array(phonon.supercell.cell).T
    cartesian = lattice @ np.asarray(symmetry.symmetry_operations['rotations']) @ np.linalg.inv(lattice)
    mean = np.zeros_like(forces)
    for rotation, permutation in zip(cartesian, symmetry.atomic_permutations, strict=True):
        # atom i goes to permutation[i], and its force turns with it
        mean[permutation] += forces @ rotation.T
    return mean / len(cartesian)
