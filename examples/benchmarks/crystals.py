"""The crystals of the benchmark, each with the supercell in which force constants are wanted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.io import read

from aiida_mlfc.core.structures.symmetry import symmetrized

STRUCTURES = Path(__file__).parents[1] / 'structures'

#: Perovskite of GdFeO3's kind, Ca4 B4 O12, in Pbnm (a- a- c+): reduced coordinates of one atom of each site. CaZrO3's
#: lattice constants, Å.
LATTICE = (5.59, 5.76, 8.01)
SITES = (
    ('Ca', (-0.012, 0.050, 0.25)), ('Zr', (0.0, 0.5, 0.0)), ('Ti', (0.0, 0.5, 0.5)),
    ('O', (0.104, 0.462, 0.25)), ('O', (0.699, 0.299, 0.053)), ('O', (0.699, 0.299, 0.447)),
)  # fmt: skip
#: P2_1/n as (rotation's diagonal, translation)
MONOCLINIC = (
    ((1, 1, 1), (0.0, 0.0, 0.0)), ((-1, 1, -1), (0.5, 0.5, 0.5)),
    ((-1, -1, -1), (0.0, 0.0, 0.0)), ((1, -1, 1), (0.5, 0.5, 0.5)),
)  # fmt: skip
#: Å; a CIF has few digits, and its symmetry with them: both sides get the symmetric positions
SYMPREC = 1e-4
#: Å, largest random displacement of a site that lowers the symmetry
RATTLE = 0.12


@dataclass(frozen=True)
class Crystal:
    """A crystal and its supercell.

    :param atoms: the unit cell.
    :param supercell: repeats of it.
    :param is_symmetric: few displacements suffice; otherwise a measurement is long and not repeated.
    """

    name: str
    atoms: Atoms
    supercell: tuple[int, int, int]
    is_symmetric: bool = True

    @property
    def n_atoms(self) -> int:
        """Of the supercell."""
        return len(self.atoms) * int(np.prod(self.supercell))


def _perovskite() -> list[tuple[str, np.ndarray]]:
    """The six sites of P2_1/n."""
    return [(symbol, np.array(place)) for symbol, place in SITES]


def _orbit(place: np.ndarray) -> list[np.ndarray]:
    """All atoms of a site, those that coincide counted once."""
    found: list[np.ndarray] = []
    for rotation, translation in MONOCLINIC:
        image = np.array(rotation) * place + translation
        if all(np.abs(image - other - np.round(image - other)).max() > 1e-3 for other in found):
            found.append(image)
    return found


def _moved(place: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A place displaced at random by at most :data:`RATTLE` in each direction."""
    return place + random.uniform(-RATTLE, RATTLE, 3) / LATTICE


def monoclinic() -> Atoms:
    """20 atoms, P2_1/c, β = 94°: the rock-salt order of Zr and Ti takes Pbnm to P2_1/n, general sites are displaced."""
    random = np.random.default_rng(20)
    symbols, places = [], []
    for symbol, place in _perovskite():
        if symbol in ('Ca', 'O'):
            place = _moved(place, random)
        orbit = _orbit(place)
        symbols += [symbol] * len(orbit)
        places += orbit
    return _wrapped(symbols, places, [*LATTICE, 90, 94, 90])


def triclinic(inversion: bool = True) -> Atoms:
    """20 atoms, P-1 (or P1), no right angle: every atom (pair of atoms) of the perovskite is displaced by itself."""
    random = np.random.default_rng(21)
    symbols, places = [], []
    for symbol, place in _perovskite():
        done: list[np.ndarray] = []
        for image in _orbit(place):
            if any(np.abs(image + other - np.round(image + other)).max() < 1e-3 for other in done):
                continue  # the partner of one that is there
            done.append(image)
            centre = np.abs(2 * image - np.round(2 * image)).max() < 1e-3
            if inversion:
                pair = [image] if centre else [new := _moved(image, random), -new]
            else:
                pair = [_moved(image, random)] if centre else [_moved(image, random), _moved(-image, random)]
            symbols += [symbol] * len(pair)
            places += pair
    return _wrapped(symbols, places, [*LATTICE, 86, 95, 92])


def _wrapped(symbols: list[str], places: list[np.ndarray], cell: list[float]) -> Atoms:
    atoms = Atoms(symbols, scaled_positions=np.array(places), cell=cell, pbc=True)
    atoms.wrap()
    return atoms


def silicon(repeats: int) -> Crystal:
    """Diamond, the cubic cell of 8 atoms repeated."""
    return Crystal(f'si{8 * repeats**3}', bulk('Si', 'diamond', 5.43, cubic=True), (repeats,) * 3)


def crystals() -> dict[str, Crystal]:
    """Those of force constants, by name; the number is that of the atoms in the supercell."""
    twice = (2, 2, 2)
    found = (
        silicon(2), silicon(3),
        Crystal('nacl64', bulk('NaCl', 'rocksalt', 5.6406, cubic=True), twice),
        Crystal('mgo64', bulk('MgO', 'rocksalt', 4.2177, cubic=True), twice),
        Crystal('quartz72', symmetrized(read(STRUCTURES / 'SiO2_quartz.cif'), SYMPREC), twice),
        Crystal('monoclinic160', monoclinic(), twice, False), Crystal('triclinic160', triclinic(), twice, False),
        Crystal('triclinic160-p1', triclinic(inversion=False), twice, False),
    )  # fmt: skip
    return {crystal.name: crystal for crystal in found}
