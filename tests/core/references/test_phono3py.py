"""phono3py's files give back the displacements and forces of the springs they were written from, and no others."""

import lzma
import re
import shutil

import numpy as np
import pytest

from aiida_mlfc.core.references.configurations import read_configurations
from aiida_mlfc.core.references.files import yaml_of
from aiida_mlfc.core.references.finding import find
from aiida_mlfc.core.references.phono3py_sets import dataset_of
from aiida_mlfc.core.references.reading import read_references
from aiida_mlfc.core.references.record import Reference, Refusal
from aiida_mlfc.core.structures.cells import to_ase

from .phono3py_files import CUTOFF, DISTANCE, FOLDER, LATTICE, forces

#: name, order, atoms of the supercell, configurations: phono3py numbers 42 in the sets of pairs, where one stands
#: twice, and 20 more than were computed in that with a cutoff
SETS = [('with_cutoff', 3, 16, 21), ('with_cutoff-fc2', 2, 54, 2), ('rydberg', 3, 16, 41)]
#: eV/Å; digits of FORCES_FC3
WRITTEN = 1e-10


def read(path) -> dict:
    return {item.name: item for item in read_references([path])}


def refusal(path) -> str:
    (found,) = read_references([path])
    assert isinstance(found, Refusal), found
    return found.error


@pytest.fixture(scope='module')
def sets():
    found = read(FOLDER)
    assert list(found) == ['rydberg', 'with_cutoff', 'with_cutoff-fc2']
    for item in found.values():
        assert isinstance(item, Reference), item.error
    return found


@pytest.fixture
def plain(tmp_path):
    """The set with a cutoff, decompressed, without that of second order unless it is asked for."""

    def copy(name='springs', second=False):
        folder = tmp_path / name
        folder.mkdir()
        for file in ('phono3py_disp.yaml', 'FORCES_FC3'):
            (folder / file).write_bytes(lzma.decompress((FOLDER / 'with_cutoff' / f'{file}.xz').read_bytes()))
        if second:
            shutil.copy(FOLDER / 'with_cutoff' / 'FORCES_FC2', folder)
        else:
            yaml = (folder / 'phono3py_disp.yaml').read_text()
            (folder / 'phono3py_disp.yaml').write_text(re.sub(r'(?m)^phonon_\w+:(\n[ -].*|\n(?=\n[ -]))*', '', yaml))
        return folder

    return copy


@pytest.mark.parametrize(('name', 'order', 'n_atoms', 'n'), SETS, ids=[one[0] for one in SETS])
def test_displacements_and_forces_are_those_of_the_springs(sets, name, order, n_atoms, n):
    found = sets[name]
    assert found.sets.forces.shape == (n, n_atoms, 3)
    assert found.source.more['phono3py'] == f'set of order {order}'
    supercell = to_ase(found.force_constants.to_phonopy().supercell)
    # the files in Rydberg were made with ASE's constants, phonopy's are of another year
    relative = 1e-6 if name == 'rydberg' else 0.0
    np.testing.assert_allclose(supercell.cell.lengths(), LATTICE * round((n_atoms / 2) ** (1 / 3)), rtol=1e-7)
    for u, written in zip(found.sets.displacements, found.sets.forces, strict=True):
        moved = np.linalg.norm(u, axis=1)
        assert 1 <= np.count_nonzero(moved) <= (2 if order == 3 else 1)
        # a pair within the cutoff, or one atom moved once or twice
        atoms = np.flatnonzero(moved)
        assert moved.max() < 2.01 * DISTANCE
        if name == 'with_cutoff' and len(atoms) == 2:
            assert supercell.get_distance(*atoms, mic=True) < CUTOFF
        np.testing.assert_allclose(written, forces(supercell, u), rtol=relative, atol=WRITTEN)
    # each once
    assert len({u.round(8).tobytes() for u in found.sets.displacements}) == n


def test_a_pair_that_moves_an_atom_back_is_no_configuration(sets):
    """phono3py lists it where symmetry leaves it over, as a duplicate of "0", the crystal at rest."""
    (candidate,) = find(FOLDER / 'rydberg')
    content = yaml_of(candidate.yaml)
    first = content['displacement_pairs'][0]
    back = first['paired_with'][0]
    back['atom'], back['displacement'] = first['atom'], [-x for x in first['displacement']]
    found = dataset_of(candidate, content, None, 16)
    assert len(found['forces']) == len(found['displacements']) == 40
    assert np.abs(found['displacements']).max(axis=(1, 2)).min() > 0.9 * DISTANCE


def hessian_rows(found: Reference) -> np.ndarray:
    """Compact force constants of the springs, by central differences that cubic terms drop out of."""
    phonon = found.force_constants.to_phonopy()
    supercell, step = to_ase(phonon.supercell), 1e-4
    rows = np.zeros((len(phonon.primitive), len(supercell), 3, 3))
    for row, atom in enumerate(phonon.primitive.p2s_map):
        for axis in range(3):
            u = np.zeros((len(supercell), 3))
            u[atom, axis] = step
            rows[row, :, axis] = (forces(supercell, -u) - forces(supercell, u)) / (2 * step)
    return rows


@pytest.mark.parametrize('name', [one[0] for one in SETS])
def test_force_constants_are_those_of_the_springs(name):
    """Pairs move one atom twice as far: what is read to be learned from has third order fitted along."""
    found = {item.name: item for item in read_configurations([FOLDER])}[name]
    expected = hessian_rows(found)
    error = np.linalg.norm(found.force_constants.array - expected) / np.linalg.norm(expected)
    assert error < 2e-3


def test_forces_in_the_yaml_go_before_files_and_a_named_file_before_all(plain, sets):
    folder = plain(second=True)
    (folder / 'meta.json').write_text('{"name": "toy"}')
    assert [c.name for c in find(folder)] == ['springs', 'springs-fc2']
    (third,) = read_references([folder / 'FORCES_FC3'])
    (second,) = read_references([folder / 'FORCES_FC2'])
    assert third.name == 'springs'
    assert second.name == 'springs-fc2'
    # what sets are called in a training, where names have to differ
    assert [item.source.more['name'] for item in (third, second)] == ['toy', 'toy-fc2']
    np.testing.assert_array_equal(third.sets.forces, sets['with_cutoff'].sets.forces)
    np.testing.assert_array_equal(second.sets.forces, sets['with_cutoff-fc2'].sets.forces)
    # a file by another name stands alone
    other = folder / 'phono3py_params_springs.yaml.xz'
    shutil.copy(FOLDER / 'rydberg' / 'phono3py_params.yaml.xz', other)
    assert [c.name for c in find(folder)] == ['springs', 'springs-fc2', 'phono3py_params_springs']
    np.testing.assert_array_equal(read(other)['phono3py_params_springs'].sets.forces, sets['rydberg'].sets.forces)


def test_beside_files_of_phonopy_both_are_found(plain, write):
    folder = plain()
    (folder / 'phonopy').mkdir()
    params = write('phonopy', 'params') / 'phonopy_params.yaml'
    shutil.copy(params, folder)
    found = read(folder)
    assert list(found) == ['springs', 'springs-phono3py']
    assert found['springs'].force_constants.unitcell.symbols[0] == 'Au'
    assert len(found['springs-phono3py'].sets.forces) == 21


def lines_of(path):
    return path.read_text().splitlines(keepends=True)


def test_broken_files_are_named(plain):
    folder = plain('short')
    (folder / 'FORCES_FC3').write_text(''.join(lines_of(folder / 'FORCES_FC3')[:-30]))
    assert 'FORCES_FC3 has forces of 41 supercells, the displacements make 42' in refusal(folder)
    folder = plain('torn')
    (folder / 'FORCES_FC3').write_text(''.join(lines_of(folder / 'FORCES_FC3')[:-3]))
    assert 'configuration 42 has forces of shape (13, 3), wanted (16, 3)' in refusal(folder)
    folder = plain('other')
    lines = lines_of(folder / 'FORCES_FC3')
    lines[1] = lines[1].replace('0.03', '0.01')
    (folder / 'FORCES_FC3').write_text(''.join(lines))
    assert 'supercell 1 moves atom 1 by other displacements than phono3py_disp.yaml' in refusal(folder)
    folder = plain('words')
    lines[1] = lines_of(plain('again') / 'FORCES_FC3')[1]
    lines[2] = 'a b c\n'
    (folder / 'FORCES_FC3').write_text(''.join(lines))
    assert 'the forces of configuration 1 are no numbers' in refusal(folder)


def test_pairs_that_were_skipped_and_not_marked_are_refused(plain):
    """Their forces are zeros: a crystal that does not answer to displacements."""
    folder = plain()
    yaml = folder / 'phono3py_disp.yaml'
    yaml.write_text(yaml.read_text().replace('    included: false\n', ''))
    assert 'is displaced and has no force on any atom' in refusal(folder)


def test_what_is_missing_is_named(plain):
    folder = plain('no forces')
    (folder / 'FORCES_FC3').unlink()
    assert 'displacements without forces' in refusal(folder)
    folder = plain('no yaml')
    (folder / 'phono3py_disp.yaml').unlink()
    assert 'phono3py_disp.yaml is missing' in refusal(folder)
    assert 'there is no phono3py_disp.yaml beside it' in refusal(folder / 'FORCES_FC3')
    folder = plain('broken')
    yaml = folder / 'phono3py_disp.yaml'
    yaml.write_text(yaml.read_text().replace('displacement:\n', 'moved:\n', 1))
    assert 'displacement_pairs are not as phono3py writes them' in refusal(folder)
