"""Formulas as chemists write them: SiO2, not O2Si."""

from __future__ import annotations

from ase import Atoms


def reduced_formula(atoms: Atoms) -> str:
    """Reduced formula, elements in order of electronegativity (pymatgen's)."""
    # pymatgen takes a second to import: not before it is needed
    from pymatgen.core import Composition

    symbols = atoms.get_chemical_symbols()
    return Composition({symbol: symbols.count(symbol) for symbol in dict.fromkeys(symbols)}).reduced_formula
