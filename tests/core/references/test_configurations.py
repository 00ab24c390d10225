"""Configurations behind references: all of a folder, halves of them, and those that do not belong to the rest."""

import lzma
import shutil

import numpy as np
import pytest

from aiida_mlfc.core.references.configurations import held_back, read_configurations, refitted
from aiida_mlfc.core.references.force_sets import ReferenceError
from aiida_mlfc.core.references.outliers import scales
from aiida_mlfc.core.references.record import Refusal

from ...spring_sets import not_a_number, other_functional, other_order, swapped, write_springs
from ..toy_mirrors import exact_force_constants, mirrored_reference, write_mirrors


def the_one(path):
    (found,) = read_configurations([path])
    assert not isinstance(found, Refusal), found.error
    return found


def test_perfect_supercell_from_configurations(tmp_path):
    """Without phonopy's file: the springs come back, on all sites of rock salt."""
    write_springs(tmp_path / 'springs')
    found = the_one(tmp_path / 'springs')
    phonon = found.force_constants.to_phonopy()
    assert (len(phonon.supercell), len(phonon.primitive)) == (16, 2)
    own = found.force_constants.array[np.arange(2), phonon.primitive.p2s_map]
    # six springs of 1 eV/Å² on every atom, the same in all directions
    np.testing.assert_allclose(own, 6 * np.eye(3)[None].repeat(2, axis=0), atol=2e-2)
    assert found.source.functional == 'springs'
    assert list(found.source.sha256) == ['configs.extxyz.xz']
    assert (len(found.sets.forces), found.checks.n_configurations) == (12, 12)


def test_file_of_any_name(tmp_path):
    write_springs(tmp_path / 'springs')
    content = lzma.decompress((tmp_path / 'springs' / 'configs.extxyz.xz').read_bytes())
    (tmp_path / 'mine.extxyz').write_bytes(content)
    assert len(the_one(tmp_path / 'mine.extxyz').sets.forces) == 12


def test_halves(tmp_path):
    write_springs(tmp_path / 'springs')
    whole = the_one(tmp_path / 'springs')
    array = whole.force_constants.array.copy()
    odd, even = held_back(whole), held_back(whole, 0)
    assert not odd.is_of_more
    for part, start in ((odd, 1), (even, 0)):
        assert np.array_equal(part.sets.forces, whole.sets.forces[start::2])
        assert np.array_equal(part.sets.displacements, whole.sets.displacements[start::2])
    # force constants are of the half alone, and those of the whole stay what they were
    assert not np.allclose(odd.force_constants.array, even.force_constants.array, rtol=0, atol=1e-8)
    np.testing.assert_array_equal(whole.force_constants.to_phonopy().force_constants, array)
    np.testing.assert_array_equal(odd.force_constants.to_phonopy().force_constants, odd.force_constants.array)


def test_halves_of_mirrors_have_the_force_constants_of_the_whole(tmp_path):
    """+u in one half and -u in the other: either side has third order in its force constants, both together do not."""
    whole = the_one(write_mirrors(tmp_path / 'mirrored'))
    supercell = mirrored_reference().supercell
    exact = exact_force_constants(supercell)[whole.force_constants.to_phonopy().primitive.p2s_map]
    part = held_back(whole)
    assert np.array_equal(part.sets.forces, whole.sets.forces[1::2])
    assert part.is_of_more
    np.testing.assert_array_equal(part.force_constants.array, whole.force_constants.array)
    alone = refitted(whole, part.sets)
    off, biased = (np.linalg.norm(r.force_constants.array - exact) / np.linalg.norm(exact) for r in (part, alone))
    assert (off < 1e-3, biased > 1e-2) == (True, True), (off, biased)
    # what trains says the same
    ours = mirrored_reference().held_back().force_constants()
    rows = whole.force_constants.to_phonopy().primitive.p2s_map
    np.testing.assert_allclose(part.force_constants.array, ours[rows], rtol=0, atol=1e-7)


def test_nothing_to_hold_back(write):
    one = the_one(write('one', 'params'))
    with pytest.raises(ReferenceError, match='displaced in 0 of 3 directions'):
        held_back(one)
    with pytest.raises(ReferenceError, match='none to hold back'):
        held_back(one, len(one.sets.forces))
    constants = the_one(write('constants', 'POSCAR', 'SPOSCAR', 'FORCE_CONSTANTS'))
    with pytest.raises(ReferenceError, match='no configurations that could be held back'):
        held_back(constants)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (not_a_number, 'the force on atom 4 of configuration 5 is not a finite number'),
        (swapped, 'configuration 5 break the symmetry'),
        (other_functional, 'configuration 5, 8 are of another scale'),
        (other_order, 'configuration 5 holds'),
    ],
)
def test_what_is_refused(tmp_path, change, message):
    write_springs(tmp_path / 'bad', change)
    (found,) = read_configurations([tmp_path / 'bad'])
    assert isinstance(found, Refusal)
    assert message in found.error


def test_too_few_to_average(tmp_path):
    write_springs(tmp_path / 'springs')
    path = tmp_path / 'springs' / 'configs.extxyz.xz'
    lines = lzma.decompress(path.read_bytes()).decode().splitlines()
    path.write_bytes(lzma.compress('\n'.join(lines[: 3 * 18]).encode() + b'\n'))
    (found,) = read_configurations([tmp_path / 'springs'])
    assert 'holds 3 configurations but no perfect supercell' in found.error


def test_more_configurations_than_phonopys_file_holds(dft_references):
    """The card of dx-si was measured on these: one displacement in phonopy's file, 111 configurations beside it."""
    folder = dft_references / 'Si_PBEsol_fc3'
    if not folder.is_dir():
        pytest.skip(f'{folder} is not there')
    found = the_one(folder)
    assert (len(found.sets.forces), found.checks.n_configurations) == (111, 111)
    # pairs of displacements on one atom add up: third order is fitted along
    assert 'third order' in found.source.content
    assert {'configs.extxyz.xz', 'phonopy_params.yaml'} <= set(found.source.sha256)


def test_sound_sets_are_of_one_scale(dft_references):
    for name, largest in (('GaN_222_rd', 0.02), ('SnO2_222_rd_symfc', 0.02)):
        found = the_one(dft_references / name)
        ratio = scales(found.force_constants, found.sets)
        assert np.median(ratio) == pytest.approx(1, abs=0.005)
        assert np.abs(ratio / np.median(ratio) - 1).max() < largest


def test_two_functionals_in_one_set(dft_references, tmp_path):
    """Random displacements of GaN, four of them with all forces 4 % larger, as LDA is to PBE."""
    from ase.io import read, write

    source = dft_references / 'GaN_222_rd'
    folder = tmp_path / 'mixed'
    shutil.copytree(source, folder)
    (folder / 'configs.extxyz').write_bytes(lzma.decompress((folder / 'configs.extxyz.xz').read_bytes()))
    (folder / 'configs.extxyz.xz').unlink()
    configurations = read(folder / 'configs.extxyz', ':')
    for k in (3, 11, 17, 30):
        configurations[k].calc.results['forces'] *= 1.04
    write(folder / 'configs.extxyz', configurations)
    (found,) = read_configurations([folder])
    assert isinstance(found, Refusal)
    assert 'configuration 4, 12, 18, 31 are of another scale' in found.error
