"""The same crystal as ASE and as phonopy see it."""

from __future__ import annotations

from functools import cache

import numpy as np
from ase import Atoms
from ase.data import atomic_masses
from phonopy.structure.atomic_data import get_atomic_data
from phonopy.structure.atoms import PhonopyAtoms

#: relative; masses that differ by more from those of the tables are isotopes: the tables differ by a quarter of it
#: from what other programs print
STANDARD_MASS = 2e-4
#: relative; what files lose by writing digits
SAME_MASS = 1e-6


@cache
def _standard_masses() -> np.ndarray:
    """Masses by atomic number in phonopy's table and in ASE's, amu, shape ``(2, 119)``; NaN where there is none."""
    phonopy = [np.nan if entry[3] is None else entry[3] for entry in get_atomic_data().atom_data]
    return np.array([phonopy, atomic_masses[: len(phonopy)]], dtype=float)


def isotope_masses(atoms: Atoms) -> np.ndarray | None:
    """Masses (amu) that were set and are not those of the elements, by phonopy's table or by ASE's; None if they are.

    AiiDA's structures hold a mass for each kind, mostly ASE's: these are no isotopes.
    """
    if not atoms.has('masses'):
        return None
    masses, tables = atoms.get_masses(), _standard_masses()[:, atoms.numbers]
    return None if (np.abs(masses / tables - 1) < STANDARD_MASS).any(axis=0).all() else masses


def to_phonopy(atoms: Atoms) -> PhonopyAtoms:
    """Cell, positions, elements and masses as ``PhonopyAtoms``.

    Masses cross only where they were set on the ``Atoms`` (isotopes); otherwise phonopy's standard masses hold, so that
    frequencies stand beside those of other phonopy users.
    """
    masses = atoms.get_masses() if atoms.has('masses') else None
    return PhonopyAtoms(numbers=atoms.numbers, cell=np.array(atoms.cell), positions=atoms.positions, masses=masses)


def to_ase(cell: PhonopyAtoms, same_mass: float = SAME_MASS) -> Atoms:
    """Cell, positions and elements as a periodic ``Atoms``, in the same order, and masses that are not phonopy's own.

    :param same_mass: relative difference that does not count.
    """
    atoms = Atoms(numbers=cell.numbers, cell=cell.cell, positions=cell.positions, pbc=True)
    if cell.masses is not None and not np.allclose(_standard_masses()[0, cell.numbers], cell.masses, same_mass, 0):
        atoms.set_masses(cell.masses)
    return atoms


def as_ase(structure: Atoms | PhonopyAtoms) -> Atoms:
    """An ``Atoms`` whichever of the two came; a copy.

    :raises TypeError: for anything else.
    """
    if isinstance(structure, PhonopyAtoms):
        return to_ase(structure)
    if isinstance(structure, Atoms):
        return structure.copy()
    raise TypeError(f'structure: got {type(structure).__name__}, wanted ase.Atoms or PhonopyAtoms')
