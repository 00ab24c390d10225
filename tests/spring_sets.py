"""A force set that costs nothing: rock salt of springs, and the ways in which people break force sets."""

import io
import json
import lzma

import numpy as np
from ase.build import bulk, make_supercell
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from phonopy import Phonopy
from phonopy.file_IO import write_FORCE_CONSTANTS, write_force_constants_to_hdf5

from aiida_mlfc.core.structures.cells import to_ase, to_phonopy


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


def spring_phonon(lattice=5.64, formula='NaCl'):
    """The same springs as force constants: Φ_ij is the unit matrix times -1 eV/Å² between neighbours, 6 on site."""
    primitive = bulk(formula, 'rocksalt', a=lattice)
    phonon = Phonopy(to_phonopy(primitive), 2 * np.eye(3, dtype=int), primitive_matrix='P', log_level=0)
    neighbours = to_ase(phonon.supercell).get_all_distances(mic=True)
    bonds = (neighbours > 0.1) & (neighbours < 2.9)
    constants = -1.0 * bonds + np.diag(bonds.sum(axis=1))
    phonon.force_constants = np.einsum('ij,ab->ijab', constants, np.eye(3))
    return phonon


def write_spring_constants(folder, form='full', change=lambda array: None, functional='springs', **crystal):
    """Springs as force constants alone, in one of the forms that people have.

    :param form: ``full`` and ``compact`` (FORCE_CONSTANTS), ``hdf5`` and ``compact hdf5``, ``params``.
    :param change: spoils the full array in place.
    """
    phonon = spring_phonon(**crystal)
    array = np.array(phonon.force_constants)
    change(array)
    rows = phonon.primitive.p2s_map
    folder.mkdir(parents=True)
    (folder / 'meta.json').write_text(json.dumps({'name': folder.name, 'functional': functional}))
    phonon.force_constants = array if form in ('full', 'hdf5') else array[rows]
    if form == 'params':
        phonon.save(folder / 'phonopy_params.yaml', settings={'force_constants': True})
        return
    phonon.save(folder / 'phonopy.yaml', settings={'force_constants': False})
    if form.endswith('hdf5'):
        write_force_constants_to_hdf5(phonon.force_constants, folder / 'force_constants.hdf5', rows, 'eV/angstrom^2')
    else:
        write_FORCE_CONSTANTS(phonon.force_constants, folder / 'FORCE_CONSTANTS', rows)
