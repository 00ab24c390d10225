"""A force set that costs nothing: rock salt of springs, and the ways in which people break force sets."""

import io
import json
import lzma

import numpy as np
from ase.build import bulk, make_supercell
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write


def write_springs(
    folder, change=lambda k, atoms, forces: None, lattice=5.64, functional='springs', formula='NaCl', energies=None
):
    """Springs between neighbours of rock salt as extended XYZ without phonopy's file, as MgO_222rd is.

    :param change: spoils configuration k, its atoms and forces, in place.
    :param formula: of rock salt.
    :param energies: of an atom at rest, eV, by symbol; without them energies are not known.
    """
    supercell = make_supercell(bulk(formula, 'rocksalt', a=lattice), 2 * np.eye(3, dtype=int))
    neighbours = supercell.get_all_distances(mic=True)
    bonds = (neighbours > 0.1) & (neighbours < 2.9)
    constants = -1.0 * bonds + np.diag(bonds.sum(axis=1))
    random, configurations = np.random.default_rng(0), []
    for k in range(12):
        u = 0.01 * random.standard_normal((len(supercell), 3))
        moved, forces = supercell.copy(), -constants @ u
        moved.positions += u
        known = {}
        if energies is not None:
            known['energy'] = sum(energies[s] for s in supercell.symbols) + 0.5 * float(np.sum(u * (constants @ u)))
        change(k, moved, forces)
        moved.calc = SinglePointCalculator(moved, forces=forces, **known)
        configurations.append(moved)
    text = io.StringIO()
    write(text, configurations, format='extxyz')
    folder.mkdir(parents=True)
    (folder / 'configs.extxyz.xz').write_bytes(lzma.compress(text.getvalue().encode()))
    (folder / 'meta.json').write_text(json.dumps({'name': folder.name, 'functional': functional}))


def not_a_number(k, atoms, forces):
    if k == 4:
        forces[3, 1] = np.nan


def swapped(k, atoms, forces):
    if k == 4:
        forces[[0, 5]] = forces[[5, 0]]


def other_functional(k, atoms, forces):
    if k in (4, 7):
        forces *= 1.05


def other_order(k, atoms, forces):
    if k == 4:
        atoms.numbers[[0, 1]] = atoms.numbers[[1, 0]]
