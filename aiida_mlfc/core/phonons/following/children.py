"""What a relaxed distortion has become: its symmetry, its primitive cell, and whether it is known already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from aiida_mlfc.core.structures.checks import StructureError
from aiida_mlfc.core.structures.symmetry import primitive_cell, spacegroup, symmetrized

#: Å; the space group is looked for with each of these, the loosest one decides: a relaxation ends within them, while a
#: distortion by less than the last would not be seen
SYMPRECS = (1e-5, 1e-4, 1e-3)
#: relative lengths, fraction of (V/N)^(1/3), degrees: two relaxed crystals that agree so well are the same
_SAME_LENGTH, _SAME_SITE, _SAME_ANGLE = 2e-3, 4e-3, 0.1
#: meV/atom; energies of the same crystal agree as well as that
SAME_ENERGY = 0.02


@dataclass(frozen=True)
class Symmetrised:
    """A relaxed crystal on its symmetry.

    :param atoms: the primitive cell, exactly symmetric.
    :param spacegroup: symbol and number, at the loosest tolerance.
    :param ladder: space group at each of ``SYMPRECS``.
    """

    atoms: Atoms
    spacegroup: str
    ladder: dict[str, str]


def symmetrised(atoms: Atoms, symprecs: Sequence[float] = SYMPRECS) -> Symmetrised:
    """Put a relaxed crystal on the symmetry that it shows, and reduce it to its primitive cell.

    :param symprecs: Å, ascending.
    :raises StructureError: if it shows none.
    """
    ladder = {f'{symprec:g}': spacegroup(atoms, symprec) for symprec in symprecs}
    loosest = symprecs[-1]
    exact = primitive_cell(symmetrized(atoms, loosest), loosest)
    # Lattices of primitive cells that spglib cuts out carry rounding; once more removes it.
    exact = symmetrized(exact, loosest)
    if spacegroup(exact, symprecs[0]) != ladder[f'{loosest:g}']:
        raise StructureError(
            f'put on {ladder[f"{loosest:g}"]}, the crystal shows {spacegroup(exact, symprecs[0])}: '
            f'symprec {loosest} Å is too loose for it'
        )
    return Symmetrised(exact, ladder[f'{loosest:g}'], ladder)


def same_crystal(one: Atoms, other: Atoms) -> bool:
    """Whether two relaxed crystals are the same up to choice of cell, origin and orientation (mirror images count).

    :param one: a primitive cell, as :func:`symmetrised` gives it, like ``other``.
    """
    # pymatgen takes a second to import: not before it is needed
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.io.ase import AseAtomsAdaptor

    # Its own search for a primitive cell takes atoms for equivalent that are 0.25 Å off: a tilt would be undone.
    matcher = StructureMatcher(
        ltol=_SAME_LENGTH, stol=_SAME_SITE, angle_tol=_SAME_ANGLE, primitive_cell=False, scale=False
    )
    return bool(matcher.fit(AseAtomsAdaptor.get_structure(one), AseAtomsAdaptor.get_structure(other)))


def known_as(found: Symmetrised, energy: float, others: Sequence[tuple[int, Atoms, str, float]]) -> int | None:
    """The identifier of the same crystal among others, if it is there.

    :param energy: meV/atom, on one scale with those of the others.
    :param others: identifier, primitive cell, space group, energy (meV/atom).
    """
    for identifier, atoms, group, level in others:
        alike = group == found.spacegroup and len(atoms) == len(found.atoms) and abs(level - energy) < SAME_ENERGY
        if alike and same_crystal(atoms, found.atoms):
            return identifier
    return None


def energy_per_atom(energy: float, atoms: Atoms) -> float:
    """meV/atom.

    :param energy: of the cell, eV.
    """
    return 1000 * energy / len(atoms)


def volume_per_atom(atoms: Atoms) -> float:
    """Å³."""
    return float(np.abs(np.linalg.det(np.array(atoms.cell))) / len(atoms))
