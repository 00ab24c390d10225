"""Force constants that are given as they are, without forces: checked, and symmetrised as fitted ones are.

Nothing was fitted here, so nothing has shown yet that the numbers belong to the crystal: of another order of atoms,
another supercell or another unit they would be learned, or compared with, without a word.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from phonopy import Phonopy

from aiida_mlfc.core.force_constants.sum_rules import acoustic_sum_residual, permutation_asymmetry
from aiida_mlfc.core.force_constants.symmetrising import projected
from aiida_mlfc.core.references.consistency import LARGEST_RESIDUAL, check_on_site
from aiida_mlfc.core.references.force_sets import ReferenceError
from aiida_mlfc.core.structures.cells import to_ase

#: of the force constants of an atom with itself; sums over a row are zero but for the grids of plane-wave codes, which
#: leave some per cent. A term that is missing in the sum, as that of the atom itself, leaves all of it
LARGEST_SUM = 0.3
#: share that symmetrisation takes away from which on it is said
NOTABLE_RESIDUAL = 0.02
#: eV: the mean force constant of the hardest atom with itself, times the square of the distance to its next neighbour.
#: 18 (NaCl) to 228 (a rhenium oxide) in 46 sound sets; by their Debye temperatures, m 3/5 ω_D², 5 to 11 in argon,
#: krypton, xenon and caesium. Ry/Bohr² for eV/Å², or the other way round, is a factor of 48.6
SOFTEST, HARDEST = 3.0, 500.0
#: atomic numbers of solids that zero-point motion makes softer than :data:`SOFTEST`: helium, neon
_SOFTER_STILL = {2, 10}
#: Å; neighbours are looked for within this distance
_NEAR = 6.0


@dataclass(frozen=True)
class GivenConstants:
    """What became of force constants that were given.

    :param array: symmetrised (space group, permutation, acoustic sum rule), compact, shape
        ``(n_prim, n_super, 3, 3)``, eV/Å².
    :param as_given: the same rows before that.
    :param removed: norm of what symmetrisation took away, over that of ``as_given``.
    """

    array: np.ndarray
    as_given: np.ndarray
    removed: float


def symmetrised(phonon: Phonopy, given: np.ndarray, name: str) -> GivenConstants:
    """Force constants as they are compared and learned from.

    :param phonon: supercell, primitive cell and symmetry.
    :param given: compact or full, shape ``(n_prim or n_super, n_super, 3, 3)``, eV/Å².
    :param name: of the file they are from, for errors.
    :raises ReferenceError: if they cannot be those of the crystal, in eV/Å².
    """
    check_shape(given, name, len(phonon.primitive), len(phonon.supercell))
    p2s_map = np.array(phonon.primitive.p2s_map)
    as_given = np.ascontiguousarray(given if len(given) == len(phonon.primitive) else given[p2s_map])
    _check_sums(as_given, phonon, name)
    array = projected(phonon, given)
    removed = float(np.linalg.norm(as_given - array) / np.linalg.norm(as_given))
    if removed > LARGEST_RESIDUAL:
        raise ReferenceError(
            f'{name}: {100 * removed:.0f} % of the force constants break space group, permutation or sum rule, wanted '
            f'less than {100 * LARGEST_RESIDUAL:.0f} % (rows add up to {acoustic_sum_residual(as_given):.2g} eV/Å², '
            f'Φ_ij and Φ_ji differ by {permutation_asymmetry(as_given, phonon.primitive):.2g} eV/Å²): is the order of '
            'atoms another, or the supercell?'
        )
    check_on_site(array, p2s_map, np.array([phonon.primitive.p2p_map[atom] for atom in phonon.primitive.s2p_map]))
    _check_units(array, phonon, name)
    return GivenConstants(array, as_given, removed)


def check_shape(array: np.ndarray, name: str, n_prim: int, n_super: int) -> None:
    """Refuse another shape, what is not finite, and nothing but zeros.

    :raises ReferenceError: naming both shapes.
    """
    if array.shape not in ((n_prim, n_super, 3, 3), (n_super, n_super, 3, 3)):
        raise ReferenceError(
            f'{name} has force constants of shape {array.shape}, wanted ({n_prim} or {n_super}, {n_super}, 3, 3): '
            'another supercell or primitive cell'
        )
    if not np.isfinite(array).all():
        raise ReferenceError(f'{name} holds force constants that are not finite numbers')
    if not np.abs(array).max() > 0:
        raise ReferenceError(f'{name}: all force constants are zero')


def _check_sums(compact: np.ndarray, phonon: Phonopy, name: str) -> None:
    p2s_map = np.array(phonon.primitive.p2s_map)
    own = np.linalg.norm(compact[np.arange(len(p2s_map)), p2s_map], axis=(1, 2))
    sums = np.linalg.norm(compact.sum(axis=1), axis=(1, 2))
    excess = sums - LARGEST_SUM * own
    atom = int(excess.argmax())
    if excess[atom] > 0:
        raise ReferenceError(
            f'{name}: the force constants of atom {int(p2s_map[atom]) + 1} ({phonon.supercell.symbols[p2s_map[atom]]}) '
            f'add up to {sums[atom]:.2g} eV/Å², beside {own[atom]:.2g} of the atom with itself, wanted less than '
            f'{LARGEST_SUM:g} of that (a crystal that moves as a whole feels no force): is a part of them missing?'
        )


def _check_units(array: np.ndarray, phonon: Phonopy, name: str) -> None:
    # Here and not above: it imports torch where there is one, and daemons need none.
    from vesin import NeighborList

    primitive = to_ase(phonon.primitive)
    search = NeighborList(cutoff=_NEAR, full_list=True)
    i, d = search.compute(points=primitive.positions, box=np.array(primitive.cell), periodic=True, quantities='id')
    nearest = np.full(len(primitive), _NEAR)
    np.minimum.at(nearest, i, d)
    own = array[np.arange(len(primitive)), np.array(phonon.primitive.p2s_map)]
    constants = np.trace(own, axis1=1, axis2=2) / 3
    energies = constants * nearest**2
    atom = int(energies.argmax())
    softest = 0.0 if set(primitive.numbers) <= _SOFTER_STILL else SOFTEST
    if not softest <= energies[atom] <= HARDEST:
        raise ReferenceError(
            f'{name}: {primitive.symbols[atom]}, the hardest atom, has {constants[atom]:.3g} eV/Å² with itself, '
            f'{nearest[atom]:.2f} Å from its next neighbour; wanted {SOFTEST / nearest[atom] ** 2:.2g} to '
            f'{HARDEST / nearest[atom] ** 2:.2g} eV/Å² as in every solid: are they in another unit (1 Ry/Bohr² is '
            '48.6 eV/Å²)? phonopy.yaml says which by its calculator, force_constants.hdf5 by its physical_unit'
        )
