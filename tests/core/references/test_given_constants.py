"""Force constants that come without forces: every form gives the same, and what cannot be the crystal's is refused."""

import h5py
import numpy as np
import pytest
from phonopy import Phonopy

from aiida_mlfc.core.references.force_sets import ReferenceError
from aiida_mlfc.core.references.given_constants import LARGEST_SUM, symmetrised
from aiida_mlfc.core.references.reading import read_references
from aiida_mlfc.core.references.record import Reference, Refusal
from aiida_mlfc.core.structures.cells import to_ase, to_phonopy

from ...spring_sets import spring_phonon, write_spring_constants

#: eV/Å²
RYDBERG_PER_BOHR_SQUARED = 13.605693 / 0.529177211**2
FORMS = ('full', 'compact', 'hdf5', 'compact hdf5', 'params')


def refusal(folder) -> str:
    (found,) = read_references([folder])
    assert isinstance(found, Refusal)
    return found.error


@pytest.mark.parametrize('form', FORMS)
def test_every_form_gives_the_springs(tmp_path, form):
    write_spring_constants(tmp_path / 'salt', form)
    (found,) = read_references([tmp_path / 'salt'])
    assert isinstance(found, Reference), found.error
    assert (found.sets, found.source.content) == (None, 'force constants')
    assert found.checks.relative_residual < 1e-10
    phonon = spring_phonon()
    expected = phonon.force_constants[phonon.primitive.p2s_map]
    np.testing.assert_allclose(found.force_constants.array, expected, rtol=0, atol=1e-10)


def not_a_number(array):
    array[3, 5, 0, 1] = np.nan


def nothing(array):
    array[:] = 0


def without_own(array):
    """As programs write them that list pairs alone."""
    array[np.arange(len(array)), np.arange(len(array))] = 0


def other_order(array):
    """Cell by cell, where phonopy goes element by element."""
    order = np.arange(len(array)).reshape(2, -1).T.ravel()
    array[:] = array[np.ix_(order, order)]


def in_rydberg(array):
    array /= RYDBERG_PER_BOHR_SQUARED


def twice_converted(array):
    array *= RYDBERG_PER_BOHR_SQUARED


def one_sided(array):
    """Half of them: the other triangle was never written."""
    array[np.tril_indices(len(array), -1)] = 0
    array[np.arange(len(array)), np.arange(len(array))] -= array.sum(axis=1)


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (not_a_number, 'FORCE_CONSTANTS holds force constants that are not finite numbers'),
        (nothing, 'FORCE_CONSTANTS: all force constants are zero'),
        (without_own, 'FORCE_CONSTANTS: the force constants of atom 1 (Na) add up to'),
        (other_order, 'break space group, permutation or sum rule'),
        (one_sided, 'break space group, permutation or sum rule'),
        (in_rydberg, 'are they in another unit (1 Ry/Bohr² is 48.6 eV/Å²)?'),
        (twice_converted, 'are they in another unit'),
    ],
    ids=lambda value: getattr(value, '__name__', ''),
)
def test_what_cannot_be_this_crystal(tmp_path, change, said):
    write_spring_constants(tmp_path / 'salt', change=change)
    error = refusal(tmp_path / 'salt')
    assert said in error
    assert error.startswith('FORCE_CONSTANTS')


def test_another_supercell(tmp_path):
    write_spring_constants(tmp_path / 'salt')
    yaml = tmp_path / 'salt' / 'phonopy.yaml'
    yaml.unlink()
    Phonopy(spring_phonon().unitcell, np.diag([3, 3, 3]), primitive_matrix='P', log_level=0).save(yaml)
    assert 'FORCE_CONSTANTS is for 16 x 16 atoms, the supercell has 54' in refusal(tmp_path / 'salt')


def test_rows_of_another_primitive_cell(tmp_path):
    """The atoms of the rows stand in the file; of others they would be taken for those of the first two."""
    write_spring_constants(tmp_path / 'salt', 'compact hdf5')
    with h5py.File(tmp_path / 'salt' / 'force_constants.hdf5', 'a') as handle:
        handle['p2s_map'][...] = [8, 0]
    assert 'force_constants.hdf5 is for the atoms [8, 0] of the supercell, wanted [0, 8]' in refusal(tmp_path / 'salt')


def test_small_violations_are_taken_off_and_measured():
    """As grids of plane-wave codes make them: a sum that is not quite zero."""
    phonon = spring_phonon()
    exact = np.array(phonon.force_constants)
    own = np.arange(len(exact))
    given = exact.copy()
    given[own, own] *= 1.02
    found = symmetrised(phonon, given, 'here')
    rows = phonon.primitive.p2s_map
    assert found.removed == pytest.approx(np.linalg.norm(given[rows] - found.array) / np.linalg.norm(given[rows]))
    # shared out among all pairs, least is taken off
    assert 0.003 < found.removed < 0.01
    np.testing.assert_allclose(found.array.sum(axis=1), 0, atol=1e-10)
    np.testing.assert_allclose(found.as_given, given[rows], atol=0)
    given[own, own] = exact[own, own] * (1 + 2 * LARGEST_SUM)
    with pytest.raises(ReferenceError, match='here: the force constants of atom 1'):
        symmetrised(phonon, given, 'here')


def test_helium_is_that_soft():
    """Half an electronvolt for a bond: no other solid has so little, see SOFTEST."""
    phonon = spring_phonon()
    scaled = np.array(phonon.force_constants) * 0.5 / 47.7
    with pytest.raises(ReferenceError, match='another unit'):
        symmetrised(phonon, scaled, 'here')
    atoms = to_ase(phonon.unitcell)
    atoms.numbers = [2, 10]
    soft = Phonopy(to_phonopy(atoms), phonon.supercell_matrix, primitive_matrix='P', log_level=0)
    np.testing.assert_allclose(symmetrised(soft, scaled, 'here').array, scaled[soft.primitive.p2s_map], atol=1e-12)


def test_a_dft_set_of_force_constants_alone(dft_references):
    (found,) = read_references([dft_references / 'NaMgF3_Pnma'])
    assert (found.sets, found.source.content) == (None, 'force constants')
    assert found.force_constants.array.shape == (20, 80, 3, 3)
    assert found.checks.relative_residual < 1e-4
