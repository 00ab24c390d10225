"""Files of phono3py from a crystal of springs with a cubic term, and the same forces without phono3py.

The files in ``phono3py_files/`` were written by phono3py 4.9.0 with

    python tests/core/references/phono3py_files.py

which needs phono3py; the tests do not. They read the files and compute the forces again.
"""

from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list
from ase.units import Bohr, Rydberg

FOLDER = Path(__file__).with_name('phono3py_files')
#: Å; caesium chloride
LATTICE = 4.1
#: springs up to this length (Å): nearest and second neighbours
REACH = 4.2
#: eV/Å² and eV/Å³, by length: nearest neighbours are stiffer
STIFFNESS, CUBIC = {True: 2.0, False: 0.7}, {True: -4.0, False: -1.0}
#: Å; pairs farther apart are not computed in the set with a cutoff
CUTOFF = 4.0
#: Å
DISTANCE = 0.03


def unitcell() -> Atoms:
    """Caesium chloride."""
    return Atoms('CsCl', scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=[LATTICE] * 3, pbc=True)


def forces(supercell: Atoms, displacements: np.ndarray) -> np.ndarray:
    """E = Σ k x²/2 + c x³/6 with the elongation x of every spring.

    :param supercell: at rest.
    :param displacements: shape ``(n_atoms, 3)``, Å.
    :return: the same shape, eV/Å.
    """
    i, j, rest = neighbor_list('ijD', supercell, REACH)
    length = np.linalg.norm(rest, axis=1)
    near = length < 0.95 * LATTICE
    stiffness, cubic = (np.where(near, of[True], of[False]) for of in (STIFFNESS, CUBIC))
    vectors = rest + displacements[j] - displacements[i]
    now = np.linalg.norm(vectors, axis=1)
    x = now - length
    pull = (stiffness * x + 0.5 * cubic * x**2)[:, None] * vectors / now[:, None]
    found = np.zeros_like(displacements)
    # every spring stands there twice, once from each end
    np.add.at(found, i, pull)
    return found


def _write() -> None:
    """The files: a set with a cutoff and a supercell of its own for second order, and one in Rydberg units."""
    from phono3py import Phono3py
    from phono3py.file_IO import write_FORCES_FC2, write_FORCES_FC3
    from phonopy.structure.atoms import PhonopyAtoms

    def phono3py(unit: float, **settings: object) -> Phono3py:
        atoms = unitcell()
        cell = PhonopyAtoms(
            symbols=list(atoms.symbols), cell=np.array(atoms.cell) / unit, scaled_positions=atoms.get_scaled_positions()
        )
        return Phono3py(cell, [2, 2, 2], primitive_matrix='P', **settings)

    def at_rest(supercell: PhonopyAtoms, unit: float) -> Atoms:
        return Atoms(supercell.symbols, positions=supercell.positions * unit, cell=supercell.cell * unit, pbc=True)

    def forces_of(displaced: list, supercell: PhonopyAtoms, unit: float, force: float) -> list:
        rest = at_rest(supercell, unit)
        zeros = np.zeros((len(rest), 3))
        return [
            zeros if one is None else forces(rest, (one.positions - supercell.positions) * unit) / force
            for one in displaced
        ]

    def keep(folder: str, name: str) -> None:
        path = FOLDER / folder / name
        path.with_name(f'{name}.xz').write_bytes(lzma.compress(path.read_bytes(), preset=9))
        path.unlink()

    for folder in ('with_cutoff', 'rydberg'):
        (FOLDER / folder).mkdir(parents=True, exist_ok=True)
    found = phono3py(1.0, phonon_supercell_matrix=[3, 3, 3])
    found.generate_displacements(distance=DISTANCE, cutoff_pair_distance=CUTOFF)
    found.generate_fc2_displacements(distance=DISTANCE)
    found.save(FOLDER / 'with_cutoff' / 'phono3py_disp.yaml')
    # as phono3py does from calculators' output: only supercells that were computed have forces, numbered through
    third = [
        f for one, f in zip(found.supercells_with_displacements,
                            forces_of(found.supercells_with_displacements, found.supercell, 1, 1), strict=True)
        if one is not None
    ]  # fmt: skip
    write_FORCES_FC3(found.dataset, third, filename=FOLDER / 'with_cutoff' / 'FORCES_FC3')
    second = forces_of(found.phonon_supercells_with_displacements, found.phonon_supercell, 1, 1)
    write_FORCES_FC2(found.phonon_dataset, second, filename=FOLDER / 'with_cutoff' / 'FORCES_FC2')
    for name in ('phono3py_disp.yaml', 'FORCES_FC3'):
        keep('with_cutoff', name)
    found = phono3py(Bohr, calculator='qe')
    found.generate_displacements(distance=DISTANCE / Bohr)
    found.forces = np.array(forces_of(found.supercells_with_displacements, found.supercell, Bohr, Rydberg / Bohr))
    found.save(FOLDER / 'rydberg' / 'phono3py_params.yaml')
    keep('rydberg', 'phono3py_params.yaml')


if __name__ == '__main__':
    _write()
