"""The same crystal as ASE and as phonopy see it."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from phonopy.structure.atoms import PhonopyAtoms


def to_phonopy(atoms: Atoms) -> PhonopyAtoms:
    """Cell, positions, elements and masses as ``PhonopyAtoms``.

    Masses cross only where they were set on the ``Atoms`` (isotopes); otherwise phonopy's standard masses hold, so that
    frequencies stand beside those of other phonopy users.
    """
    masses = atoms.get_masses() if atoms.has('masses') else None
    return PhonopyAtoms(numbers=atoms.numbers, cell=np.array(atoms.cell), positions=atoms.positions, masses=masses)


def to_ase(cell: PhonopyAtoms) -> Atoms:
    """Cell, positions and elements as a periodic ``Atoms``, in the same order."""
    return Atoms(numbers=cell.numbers, cell=cell.cell, positions=cell.positions, pbc=True)


def as_ase(structure: Atoms | PhonopyAtoms) -> Atoms:
    """An ``Atoms`` whichever of the two came; a copy.

    :raises TypeError: for anything else.
    """
    if isinstance(structure, PhonopyAtoms):
        return to_ase(structure)
    if isinstance(structure, Atoms):
        return structure.copy()
    raise TypeError(f'structure: got {type(structure).__name__}, wanted ase.Atoms or PhonopyAtoms')
