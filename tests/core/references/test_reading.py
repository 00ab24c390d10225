"""Every form of a reference gives the same force constants; what is broken is named and passed over."""

import gzip
import io
import lzma
import os
import tarfile
import zipfile

import numpy as np
import pytest
from phonopy.file_IO import parse_FORCE_SETS

from aiida_mlfc.core.references.finding import find
from aiida_mlfc.core.references.reading import read_references
from aiida_mlfc.core.references.record import Reference, Refusal
from aiida_mlfc.core.references.settings import Settings


def read(path, **settings):
    return list(read_references([path], Settings(**settings)))


def read_one(path, **settings) -> Reference:
    (found,) = read(path, **settings)
    assert isinstance(found, Reference), found.error
    return found


def refusal(path, **settings) -> str:
    (found,) = read(path, **settings)
    assert isinstance(found, Refusal)
    return found.error


@pytest.fixture
def expected(write):
    return read_one(write('expected', 'params')).force_constants.array


FORMS = [
    (('params',), 'force sets'),
    (('disp', 'FORCE_SETS'), 'force sets'),
    (('POSCAR', 'conf', 'FORCE_SETS'), 'force sets'),
    (('POSCAR', 'SPOSCAR', 'FORCE_SETS'), 'force sets'),
    (('POSCAR', 'conf', 'FORCE_CONSTANTS'), 'force constants'),
    (('disp', 'hdf5'), 'force constants'),
]


@pytest.mark.parametrize(('forms', 'content'), FORMS, ids=['+'.join(f) for f, _ in FORMS])
def test_every_form_gives_the_same(write, expected, forms, content):
    """Those from force constants are phonopy's own, projected: to the anharmonicity of the forces."""
    found = read_one(write('AuCu3', *forms))
    assert found.name == 'AuCu3'
    assert found.source.content == content
    assert set(found.source.sha256) <= set(os.listdir(found.source.path))
    tolerance = 1e-7 if content == 'force sets' else 0.02 * np.abs(expected).max()
    np.testing.assert_allclose(found.force_constants.array, expected, atol=tolerance)


def test_fitted_force_constants_obey_every_symmetry_and_predict_the_forces(write, phonon):
    found = read_one(write('AuCu3', 'params'))
    quality = found.force_constants.quality
    assert quality.acoustic_sum_residual < 1e-12
    assert quality.permutation_asymmetry < 1e-12
    assert 0 < found.checks.relative_residual < 0.02
    assert found.checks.n_configurations == len(phonon.dataset['first_atoms'])
    # phonopy's own way, symmetrised its own way, gives nearly the same frequencies
    ours, theirs = found.force_constants.to_phonopy(), phonon
    for one in (ours, theirs):
        one.run_qpoints([[0.5, 0, 0], [0.5, 0.5, 0.5]])
    np.testing.assert_allclose(ours.qpoints.frequencies, theirs.qpoints.frequencies, atol=0.02)


def test_a_file_that_is_named_overrules_its_neighbours(write):
    folder = write('AuCu3', 'params', 'FORCE_SETS', 'FORCE_CONSTANTS')
    assert read_one(folder).source.content == 'force sets'
    assert read_one(folder / 'FORCE_CONSTANTS').source.content == 'force constants'
    assert 'FORCE_SETS' in read_one(folder / 'FORCE_SETS').source.sha256


def test_supercell_has_to_be_known(write):
    folder = write('AuCu3', 'POSCAR', 'FORCE_SETS')
    assert '--supercell' in refusal(folder)
    assert read_one(folder, supercell_matrix=[2, 2, 2]).force_constants.array.shape == (4, 32, 3, 3)
    assert 'FORCE_SETS is for 32 atoms, the supercell has 108' in refusal(folder, supercell_matrix=[3, 3, 3])


@pytest.mark.parametrize(('suffix', 'module'), [('.xz', lzma), ('.gz', gzip)])
def test_compressed_files(write, expected, suffix, module):
    folder = write('AuCu3', 'params')
    plain = folder / 'phonopy_params.yaml'
    with module.open(f'{plain}{suffix}', 'wb') as handle:
        handle.write(plain.read_bytes())
    plain.unlink()
    np.testing.assert_allclose(read_one(folder).force_constants.array, expected, atol=1e-12)


def test_born_charges_beside(write):
    found = read_one(write('AuCu3', 'POSCAR', 'conf', 'FORCE_SETS', 'BORN'))
    nac_params = found.force_constants.nac_params
    assert nac_params['born'].shape == (4, 3, 3)
    assert nac_params['factor'] == pytest.approx(14.4)
    # three equivalent copper atoms, each with its own axis
    assert sorted(float(b[0, 0]) for b in nac_params['born'][1:]) == pytest.approx([-0.5, -0.2, -0.2])
    folder = write('broken', 'POSCAR', 'conf', 'FORCE_SETS')
    (folder / 'BORN').write_text('14.4\n3 0 0 0 3 0 0 0 3\n')
    assert 'BORN does not fit' in refusal(folder)


def test_files_of_the_working_directory_are_not_taken(write, monkeypatch):
    monkeypatch.chdir(write('elsewhere', 'BORN', 'FORCE_CONSTANTS'))
    found = read_one(write('AuCu3', 'params'))
    assert found.force_constants.nac_params is None
    assert found.source.content == 'force sets'


def test_a_folder_of_many_names_what_it_cannot_read(write, tmp_path):
    """One corrupted, one without forces, one with another number of atoms, among good ones."""
    write('set/a_good', 'params')
    write('set/b_good', 'POSCAR', 'conf', 'FORCE_SETS')
    truncated = write('set/corrupted', 'params') / 'phonopy_params.yaml'
    truncated.write_bytes(lzma.compress(truncated.read_bytes())[:500])
    truncated.rename(f'{truncated}.xz')
    write('set/no_forces', 'disp')
    mismatched = write('set/other_atoms', 'POSCAR', 'conf', 'FORCE_SETS')
    (mismatched / 'phonopy.conf').write_text('DIM = 1 2 2\n')
    cut = write('set/some_missing', 'POSCAR', 'conf', 'FORCE_SETS') / 'FORCE_SETS'
    cut.write_text(''.join(cut.read_text().splitlines(keepends=True)[:-20]))
    nan = write('set/with_nan', 'POSCAR', 'conf', 'FORCE_SETS') / 'FORCE_SETS'
    lines = nan.read_text().splitlines()
    lines[6] = 'nan 0.0 0.0'
    nan.write_text('\n'.join(lines))
    (tmp_path / 'set' / 'notes').mkdir()
    (tmp_path / 'set' / 'notes' / 'band.yaml').write_text('nothing: of interest\n')
    found = {item.name: item for item in read(tmp_path / 'set')}
    assert [name for name, item in found.items() if isinstance(item, Reference)] == ['a_good', 'b_good']
    errors = {name: item.error for name, item in found.items() if isinstance(item, Refusal)}
    assert set(errors) == {'corrupted', 'no_forces', 'other_atoms', 'some_missing', 'with_nan'}
    assert 'truncated' in errors['corrupted']
    assert 'displacements without forces' in errors['no_forces']
    assert 'is for 32 atoms, the supercell has 16' in errors['other_atoms']
    assert 'forces of 1 displacements are missing' in errors['some_missing']
    assert 'not a finite number' in errors['with_nan']


def test_custom_names_are_references_of_their_own(write, tmp_path):
    source = write('x', 'params') / 'phonopy_params.yaml'
    folder = tmp_path / 'many'
    folder.mkdir()
    for name in ('mp-1.yaml', 'mp-2.yaml'):
        (folder / name).write_text(source.read_text())
    assert [item.name for item in read(folder)] == ['mp-1', 'mp-2']
    assert read_one(folder / 'mp-2.yaml').name == 'mp-2'


def pack(folder, target):
    """As people download it: zip, or tar with the old lzma."""
    if target.suffix == '.zip':
        with zipfile.ZipFile(target, 'w') as archive:
            for path in folder.iterdir():
                archive.write(path, f'{folder.name}/{path.name}')
    else:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode='w') as archive:
            archive.add(folder, folder.name)
        target.write_bytes(lzma.compress(buffer.getvalue(), format=lzma.FORMAT_ALONE))
    return target


@pytest.mark.parametrize('name', ['mp-661-20180417.zip', 'mp-661-20180417.tar.lzma'])
def test_archives(write, expected, tmp_path, name):
    found = read_one(pack(write('inner', 'POSCAR', 'conf', 'FORCE_SETS', 'BORN'), tmp_path / name))
    assert found.name == 'mp-661-20180417'
    assert found.source.path == str(tmp_path / name)
    assert set(found.source.sha256) == {'POSCAR-unitcell', 'phonopy.conf', 'FORCE_SETS', 'BORN'}
    np.testing.assert_allclose(found.force_constants.array, expected, atol=1e-7)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:300])
    assert 'cannot be read' in refusal(tmp_path / name)


def test_archives_cannot_leave_their_place(write, tmp_path):
    leading_out = tmp_path / 'out.zip'
    with zipfile.ZipFile(leading_out, 'w') as archive:
        archive.writestr('../../FORCE_SETS', 'x')
    assert 'leads out of it' in refusal(leading_out)
    secret = tmp_path / 'secret'
    secret.write_text('not for you')
    linking = tmp_path / 'link.tar'
    with tarfile.open(linking, 'w') as archive:
        info = tarfile.TarInfo('x/FORCE_SETS')
        info.type, info.linkname = tarfile.SYMTYPE, str(secret)
        archive.addfile(info)
    assert 'is a link' in refusal(linking)
    assert not (tmp_path.parent / 'FORCE_SETS').exists()


def test_an_archive_that_unpacks_to_too_much_is_stopped(write, tmp_path, monkeypatch):
    monkeypatch.setattr('aiida_mlfc.core.references.archives.LARGEST_FILE', 1000)
    packed = pack(write('inner', 'POSCAR', 'conf', 'FORCE_SETS'), tmp_path / 'bomb.zip')
    assert 'holds more than 1000 bytes' in refusal(packed)


def test_yaml_makes_no_objects(tmp_path):
    """phonopy's own loader would run this."""
    path = tmp_path / 'phonopy_params.yaml'
    path.write_text(f'phonopy: !!python/object/apply:os.mkdir ["{tmp_path}/made"]\n')
    assert 'is no YAML' in refusal(path)
    assert not (tmp_path / 'made').exists()


def test_units_of_other_calculators(write, expected, tmp_path):
    """The same crystal as Quantum ESPRESSO's users have it: Bohr and Ry/Bohr."""
    import yaml

    from aiida_mlfc.core.references.settings import Units

    units = Units.of('qe')
    content = yaml.safe_load((write('x', 'params') / 'phonopy_params.yaml').read_text())
    content['phonopy']['calculator'] = 'qe'
    content['physical_unit'] |= {'length': 'au', 'force': 'Ry/au', 'force_constants': 'Ry/au^2'}
    content.pop('supercell')
    content.pop('primitive_cell')
    content['unit_cell']['lattice'] = (np.array(content['unit_cell']['lattice']) / units.length).tolist()
    for entry in content['displacements']:
        entry['displacement'] = (np.array(entry['displacement']) / units.length).tolist()
        entry['forces'] = (np.array(entry['forces']) / units.force).tolist()
    (tmp_path / 'qe').mkdir()
    (tmp_path / 'qe' / 'phonopy_params.yaml').write_text(yaml.safe_dump(content))
    np.testing.assert_allclose(read_one(tmp_path / 'qe').force_constants.array, expected, atol=1e-6)


def test_finding_needs_something(tmp_path):
    with pytest.raises(FileNotFoundError, match='nothing-here'):
        list(find(tmp_path / 'nothing-here'))
    assert list(find(tmp_path)) == []


def test_what_was_written_is_what_is_read(write, phonon):
    """The fixture itself: FORCE_SETS holds the forces."""
    dataset = parse_FORCE_SETS(write('x', 'FORCE_SETS') / 'FORCE_SETS')
    written, held = (content['first_atoms'][0]['forces'] for content in (dataset, phonon.dataset))
    np.testing.assert_allclose(written, held, atol=1e-8)
