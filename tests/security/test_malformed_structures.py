"""Sixty broken structure files: one clear row each, and the good ones beside them are read."""

import io
import os
import zipfile

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write

from aiida_mlfc.core.structures.reading import read_crystals

CIF = """data_x
_chemical_formula_sum 'Na4 Cl4'
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_IT_number 225
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Na1 Na 0 0 0 1.0
Cl1 Cl 0.5 0.5 0.5 1.0
"""
LATTICE = 'Lattice="5.64 0 0 0 5.64 0 0 0 5.64" Properties=species:S:1:pos:R:3'
XYZ = f'2\n{LATTICE}\nNa 0 0 0\nCl 2.8 0 0\n'
POSCAR = 'x\n1\n5 0 0\n0 5 0\n0 0 5\nNa Cl\n1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n'


def gz(text):
    import gzip

    return gzip.compress(text.encode())


def archive(text):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as handle:
        handle.writestr('a.cif', text)
    return buffer.getvalue()


MANY_SITES = ''.join(f'Na{k} Na {k / 3000:.5f} {k / 2000:.5f} {k / 1000:.5f} 1.0\n' for k in range(600))

MALFORMED = {
    # nothing, or another thing
    'empty.cif': '',
    'empty.xyz': '',
    'empty.vasp': '',
    'blank.cif': '\n' * 1000,
    'zeros.cif': bytes(4096),
    'zeros.vasp': bytes(4096),
    'random.xyz': bytes(range(256)) * 20,
    'png.cif': b'\x89PNG\r\n\x1a\n' + bytes(range(256)),
    'gzip.cif': gz(CIF),
    'zip.cif': archive(CIF),
    'utf16.cif': CIF.encode('utf-16'),
    'utf16.xyz': XYZ.encode('utf-16'),
    'pickle.vasp': b'\x80\x04cposix\nsystem\n(S"touch executed"\ntR.',
    'python.cif': '__import__("os").system("touch executed")\n',
    'html.cif': '<html><script>alert(1)</script></html>',
    'json.xyz': '{"numbers": [11], "positions": [[0, 0, 0]]}',
    'traj.xyz': b'- of Ulm' + bytes(64),
    # CIF
    'truncated_header.cif': CIF[:150],
    'truncated_sites.cif': CIF[:-20],
    'no_sites.cif': CIF[: CIF.index('loop_')],
    'no_cell.cif': CIF.replace('_cell_length_a 5.64\n', ''),
    'zero_cell.cif': CIF.replace('_a 5.64', '_a 0'),
    'negative_cell.cif': CIF.replace('_a 5.64', '_a -5.64').replace('_b 5.64', '_b 0.0'),
    'nan_cell.cif': CIF.replace('_a 5.64', '_a nan'),
    'huge_cell.cif': CIF.replace('_a 5.64', '_a 1e300'),
    'text_cell.cif': CIF.replace('_a 5.64', '_a long'),
    'angles.cif': CIF.replace('alpha 90', 'alpha 180').replace('number 225', 'number 1'),
    'space_group.cif': CIF.replace('number 225', 'number 999'),
    'space_group_text.cif': CIF.replace('number 225', 'number many'),
    'unknown_element.cif': CIF.replace('Na1 Na', 'Q1 Qq'),
    'unknown_position.cif': CIF.replace('Na1 Na 0', 'Na1 Na ?'),
    'partial.cif': CIF.replace('0 0 0 1.0', '0 0 0 0.5'),
    'doubled.cif': CIF + 'K1 K 0 0 0 1.0\n',
    'near.cif': CIF + 'Na2 Na 0.001 0 0 1.0\n',
    'formula.cif': CIF.replace("'Na4 Cl4'", "'Na4 Cl8'"),
    'columns.cif': CIF.replace('0.5 0.5 0.5 1.0', '0.5 0.5'),
    'many_columns.cif': CIF + 'Na2 Na 0.25 0.25 0.25 1.0 1 2 3 4 5\n',
    'symmetry_bomb.cif': CIF.replace("'Na4 Cl4'", '?') + MANY_SITES,
    'operations.cif': CIF.replace(
        '_space_group_IT_number 225\n', 'loop_\n_symmetry_equiv_pos_as_xyz\n\'x,y,__import__("os")\'\n'
    ),
    'large.cif': CIF + '# ' + 'x' * 6_000_000,
    # extended XYZ
    'no_lattice.xyz': '2\nno lattice\nNa 0 0 0\nCl 2.8 0 0\n',
    'short.xyz': XYZ.replace('2\n', '3\n', 1),
    'bomb.xyz': XYZ.replace('2\n', '99999999999\n', 1),
    'digits.xyz': XYZ.replace('2\n', '9' * 6000 + '\n', 1),
    'negative.xyz': XYZ.replace('2\n', '-2\n', 1),
    'nan.xyz': XYZ.replace('2.8', 'nan'),
    'infinite.xyz': XYZ.replace('2.8', '1e999'),
    'dummy.xyz': XYZ.replace('Cl', 'X'),
    'element.xyz': XYZ.replace('Cl', 'Zz'),
    'slab.xyz': XYZ.replace('Lattice', 'pbc="T T F" Lattice'),
    'zero_lattice.xyz': XYZ.replace('5.64', '0'),
    'lattice_text.xyz': XYZ.replace('"5.64 0', '"a 0'),
    'properties.xyz': XYZ.replace('pos:R:3', 'pos:R:999999999'),
    'properties_kind.xyz': XYZ.replace('pos:R:3', 'pos:Q:3'),
    'one_site.xyz': XYZ.replace('Cl 2.8', 'Cl 5.64'),
    'too_many_atoms.xyz': f'10001\n{LATTICE.replace("5.64", "90")}\n'
    + ''.join(f'Na {4 * (k % 22)} {4 * (k // 22 % 22)} {4 * (k // 484)}\n' for k in range(10001)),
    # POSCAR
    'cut.vasp': POSCAR[:-12],
    'flat.vasp': POSCAR.replace('0 0 5', '5 5 0', 1),
    'counts.vasp': POSCAR.replace('1 1\n', '1 x\n'),
    'bomb.vasp': POSCAR.replace('1 1\n', '99999999999 1\n'),
    'scale.vasp': POSCAR.replace('x\n1\n', 'x\n0\n', 1),
    'scale_nan.vasp': POSCAR.replace('x\n1\n', 'x\nnan\n', 1),
    'one_site.vasp': POSCAR.replace('0.5 0.5 0.5', '1 0 0'),
    'vacuum.vasp': POSCAR.replace('x\n1\n', 'x\n100\n', 1),
    'crushed.vasp': POSCAR.replace('x\n1\n', 'x\n0.1\n', 1),
    'elements.vasp': POSCAR.replace('Na Cl', 'Na Qq'),
}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """All of them, a pipe and a device among them, and two good ones."""
    path = tmp_path_factory.mktemp('malformed')
    for name, content in MALFORMED.items():
        (path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    write(path / 'good.cif', bulk('NaCl', 'rocksalt', a=5.64, cubic=True))
    write(path / 'good_too.vasp', bulk('Si', 'diamond', a=5.43), format='vasp')
    os.mkfifo(path / 'pipe.cif')
    (path / 'device.cif').symlink_to('/dev/zero')
    return path


@pytest.fixture(scope='module')
def rows(folder):
    return list(read_crystals([folder, folder / 'pipe.cif', folder / 'device.cif']))


def test_there_are_sixty():
    assert len(MALFORMED) >= 60


def test_the_good_ones_are_read(rows):
    good = {row.name: row.atoms.get_chemical_formula() for row in rows if row.atoms is not None}
    assert good == {'good': 'Cl4Na4', 'good_too': 'Si2'}


@pytest.mark.parametrize('name', MALFORMED)
def test_one_clear_row_each(rows, name):
    found = [row for row in rows if row.path.name == name]
    assert found, 'it has no row'
    for row in found:
        assert row.atoms is None
        assert 10 < len(row.error) < 400
        assert '\n' not in row.error
        assert 'Traceback' not in row.error


@pytest.mark.parametrize('name', ['pipe.cif', 'device.cif'])
def test_what_has_no_end_is_not_read(rows, name):
    (row,) = [row for row in rows if row.path.name == name]
    assert 'no regular file' in row.error


def test_nothing_was_executed(rows, folder):
    assert not (folder / 'executed').exists()
    assert not os.path.exists('executed')


def test_rows_are_the_same_every_time(rows, folder):
    again = {row.path.name: row.error for row in read_crystals([folder])}
    assert all(again[row.path.name] == row.error for row in rows if row.path.name in MALFORMED and row.name[-2] != '#')
    assert np.mean([row.atoms is None for row in rows]) > 0.9
