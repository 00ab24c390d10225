"""Space groups, standard primitive cells and canonical forms, all by spglib."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import spglib
from ase import Atoms

from aiida_mlfc.core.structures.cells import isotope_masses
from aiida_mlfc.core.structures.checks import StructureError

#: what spglib raises where it finds nothing; older ones have no such exception and give None instead
_NOTHING: tuple[type[Exception], ...] = (spglib.SpglibError,) if hasattr(spglib, 'SpglibError') else ()
#: the same from within ASE, which looks into that None
_NOTHING_IN_ASE: tuple[type[Exception], ...] = (*_NOTHING, AttributeError)


def _cell(atoms: Atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.array(atoms.cell), atoms.get_scaled_positions(), atoms.numbers


def _or_none(ask: Callable[..., Any], atoms: Atoms, **keywords: Any) -> Any:
    """spglib's answer; None if it finds nothing, which it says by an exception as soon as phonopy is imported."""
    try:
        return ask(_cell(atoms), **keywords)
    except _NOTHING:
        return None


def symmetry_dataset(atoms: Atoms, symprec: float = 1e-5) -> Any:
    """spglib's dataset: operations, equivalent atoms, space group; None if it finds no symmetry."""
    return _or_none(spglib.get_symmetry_dataset, atoms, symprec=symprec)


def spacegroup(atoms: Atoms, symprec: float = 1e-5) -> str:
    """International symbol and number, ``Fm-3m (225)``.

    :raises StructureError: if spglib finds no space group.
    """
    dataset = symmetry_dataset(atoms, symprec)
    if dataset is None:
        raise StructureError(f'spglib finds no space group at symprec {symprec} Å: is the structure broken?')
    return f'{dataset.international} ({dataset.number})'


def symmetrized(atoms: Atoms, symprec: float) -> Atoms:
    """The same cell with positions and lattice put exactly on the symmetry that holds within ``symprec``.

    :param symprec: Å; what a file writes with few digits is within it, a real distortion is not.
    :raises StructureError: if spglib finds no symmetry, there or on the way: atoms on top of each other?
    """
    from ase.spacegroup.symmetrize import refine_symmetry

    exact = atoms.copy()
    try:
        refine_symmetry(exact, symprec=symprec, verbose=False)
    except _NOTHING_IN_ASE as error:
        # ASE asks again at 1e-4 Å, where atoms may be too near each other that were not before
        raise StructureError(f'the symmetry at symprec {symprec} Å cannot be imposed: {error}') from error
    return exact


def primitive_cell(atoms: Atoms, symprec: float = 1e-5) -> Atoms:
    """The primitive cell of a crystal, idealised nowhere: its atoms are atoms of the input.

    :raises StructureError: if spglib finds none, or there are isotopes, which it does not know.
    """
    if isotope_masses(atoms) is not None:
        raise StructureError('masses other than those of the elements are lost on the way to the primitive cell')
    found = _or_none(spglib.standardize_cell, atoms, to_primitive=True, no_idealize=True, symprec=symprec)
    if found is None:
        raise StructureError(f'spglib finds no primitive cell at symprec {symprec} Å')
    cell, scaled, numbers = found
    return Atoms(numbers=numbers, scaled_positions=scaled, cell=cell, pbc=True)
