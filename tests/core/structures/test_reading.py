"""Structure files: what is good is read, what is not is one row that says why, whatever is in the file."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiida_mlfc.core.structures import reading
from aiida_mlfc.core.structures.reading import read_crystals, structure_files
from aiida_mlfc.core.structures.symmetry import spacegroup

NACL = bulk('NaCl', 'rocksalt', a=5.64, cubic=True)
HEADER = """data_x
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
"""
SITES = 'Na1 Na 0 0 0 1.0\nCl1 Cl 0.5 0.5 0.5 1.0\n'


def one(folder: Path, name: str, content: str | bytes):
    """The only crystal of a file."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (crystal,) = read_crystals([path])
    return crystal


def same_crystal(first: Atoms, second: Atoms) -> bool:
    return (
        first.get_chemical_formula() == second.get_chemical_formula()
        and first.get_volume() == pytest.approx(second.get_volume())
        and np.allclose(sorted(first.get_all_distances(mic=True)[0]), sorted(second.get_all_distances(mic=True)[0]))
    )


@pytest.mark.parametrize(
    ('name', 'kind'),
    [
        ('a.cif', 'cif'),
        ('A.CIF', 'cif'),
        ('POSCAR', 'vasp'),
        ('POSCAR_2', 'vasp'),
        ('CONTCAR', 'vasp'),
        ('a.vasp', 'vasp'),
        ('a.poscar', 'vasp'),
        ('a.extxyz', 'extxyz'),
        ('a.xyz', 'extxyz'),
        ('<img src=x onerror=alert(1)>.cif', 'cif'),
        ('a@2.vasp', 'vasp'),
        ('a@0:3.extxyz', 'extxyz'),
        ('-.vasp', 'vasp'),
        ('*.extxyz', 'extxyz'),
        ('ü ñ.cif', 'cif'),
        ("a'; rm -rf ~.cif", 'cif'),
    ],
)
def test_formats_and_names(tmp_path, name, kind):
    write(tmp_path / 'written', NACL, format=kind)
    (tmp_path / 'written').rename(tmp_path / name)
    (crystal,) = read_crystals([tmp_path / name])
    assert crystal.error == ''
    assert same_crystal(crystal.atoms, NACL)
    assert crystal.atoms.pbc.all()
    assert crystal.name == (name if kind == 'vasp' and '.' not in name else Path(name).stem)


def test_cif_with_symmetry(tmp_path):
    crystal = one(tmp_path, 'a.cif', HEADER + SITES)
    assert same_crystal(crystal.atoms, NACL)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('', 'holds no complete structure'),
        ((HEADER + SITES)[:120], 'no complete structure'),
        (HEADER + SITES.splitlines()[0], 'is it truncated'),
        ((HEADER + SITES).replace("'Na4 Cl4'", "'Na4 Cl8'"), 'states the formula Na4 Cl8, its sites give Na4Cl4'),
        ((HEADER + SITES).replace("'Na4 Cl4'", "'Na4 Br4'"), 'states the formula Na4 Br4'),
        (HEADER + SITES + 'K1 K 0 0 0 1.0\n', 'two atoms on one site'),
        (HEADER + SITES + 'Na2 Na 0.001 0 0 1.0\n', 'two atoms on one site'),
        (HEADER + 'Na1 Na 0 0 0 0.5\nCl1 Cl 0.5 0.5 0.5 1.0\n', 'partial occupancies'),
        (HEADER + 'Na1 Na 0 0 0 0.5(1)\nCl1 Cl 0.5 0.5 0.5 1\n', 'partial occupancies'),
        ((HEADER + SITES).replace('_a 5.64', '_a 0'), r'.'),
        ((HEADER + SITES).replace('_a 5.64', '_a 1e9'), 'vacuum, or a wrong unit'),
        ((HEADER + SITES).replace('_a 5.64', '_a nan'), r'.'),
        ((HEADER + SITES).replace('Na1 Na 0', 'Na1 Na ?'), r'.'),
        ((HEADER + SITES).replace('Na1 Na', 'Q1 Qq'), r'.'),
        ((HEADER + SITES).replace('_number 225', '_number 999'), r'.'),
        (b'\x89PNG\r\n\x1a\n' + bytes(range(256)), r'.'),
        (b'\xff\xfe' + HEADER.encode('utf-16'), r'.'),
    ],
)
def test_broken_cif(tmp_path, content, message):
    crystal = one(tmp_path, 'a.cif', content)
    assert crystal.atoms is None
    assert re.search(message, crystal.error), crystal.error
    assert '\n' not in crystal.error
    assert len(crystal.error) < 400


@pytest.mark.parametrize(
    ('formula', 'sites'),
    [
        ("'H2 O1'", 'H 0 0 0 1\nH 0.5 0 0 1\nO 0 0.5 0 1\n'),
        ("'D2 O1'", 'D 0 0 0 1\nD 0.5 0 0 1\nO 0 0.5 0 1\n'),
        ("'D1 H1 O1'", 'D 0 0 0 1\nH 0.5 0 0 1\nO 0 0.5 0 1\n'),
        ("'Na1+ Cl1-'", 'Na1+ 0 0 0 1\nCl1- 0.5 0 0 1\n'),
        ("'Na2 Cl2'", 'Na 0 0 0 1\nCl 0.5 0 0 1\n'),
        ('?', 'Na 0 0 0 1\nCl 0.5 0 0 1\n'),
    ],
)
def test_formulas_that_fit(tmp_path, formula, sites):
    text = HEADER.replace("'Na4 Cl4'", formula).replace('_atom_site_label\n', '').replace('number 225', 'number 1')
    crystal = one(tmp_path, 'a.cif', text + sites)
    assert crystal.error == ''


LATTICE = 'Lattice="5.64 0 0 0 5.64 0 0 0 5.64"'


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('a.xyz', '2\nno lattice\nNa 0 0 0\nCl 2.8 0 0\n', 'periodic in three directions'),
        ('a.xyz', f'3\n{LATTICE}\nNa 0 0 0\nCl 2.8 0 0\n', r'.'),
        ('a.xyz', f'2\n{LATTICE}\nNa 0 0 0\nCl 2.8 0 nan\n', 'not finite'),
        ('a.xyz', f'2\n{LATTICE}\nNa 0 0 0\nX 2.8 0 0\n', 'dummy atom'),
        ('a.xyz', f'2\n{LATTICE} pbc="T T F"\nNa 0 0 0\nCl 2.8 0 0\n', 'pbc='),
        ('a.xyz', '2\nLattice="0 0 0 0 0 0 0 0 0"\nNa 0 0 0\nCl 2.8 0 0\n', 'lattice missing|periodic'),
        ('a.xyz', '', r'.'),
        ('a.xyz', '0\n\n', r'no atoms|periodic'),
        ('a.xyz', '99999999999\nx\n', 'announces 99999999999 atoms in 2 lines'),
        ('POSCAR', '', r'.'),
        ('POSCAR', 'x\n1\n5 0 0\n0 5 0\n0 0 5\nNa Cl\n1 1\nDirect\n0 0 0\n', r'.'),
        ('POSCAR', 'x\n1\n5 0 0\n0 5 0\n0 0 5\nNa\n99999999999\nDirect\n0 0 0\n', 'announces 99999999999 atoms'),
        ('POSCAR', 'x\n1\n5 0 0\n0 5 0\n5 5 0\nNa\n1\nDirect\n0 0 0\n', 'lattice missing'),
        ('POSCAR', 'x\n1\n5 0 0\n0 5 0\n0 0 5\nNa\n2\nDirect\n0 0 0\n0 0 1\n', 'two atoms on one site'),
    ],
)
def test_broken_xyz_and_poscar(tmp_path, name, content, message):
    crystal = one(tmp_path, name, content)
    assert crystal.atoms is None
    assert re.search(message, crystal.error), crystal.error


def test_several_frames_of_which_one_is_broken(tmp_path):
    doubled = NACL.copy()
    doubled.positions[1] = doubled.positions[0]
    write(tmp_path / 'a.extxyz', [NACL, doubled, NACL * (1, 1, 2)])
    crystals = list(read_crystals([tmp_path / 'a.extxyz']))
    assert [c.name for c in crystals] == ['a#0', 'a#1', 'a#2']
    assert [c.atoms is None for c in crystals] == [False, True, False]
    assert len(crystals[2].atoms) == 16


def test_only_the_crystal_is_kept(tmp_path):
    """Constraints, charges, velocities and results of other programs stay in the file."""
    atoms = NACL.copy()
    atoms.set_initial_magnetic_moments(np.ones(8))
    atoms.info['energy'] = 3.0
    write(tmp_path / 'a.extxyz', atoms)
    (crystal,) = read_crystals([tmp_path / 'a.extxyz'])
    assert set(crystal.atoms.arrays) == {'numbers', 'positions'}
    assert crystal.atoms.info == {}
    assert crystal.atoms.calc is None


def test_left_handed_lattice_vectors_are_turned_round(tmp_path):
    """The same lattice and the same atoms; right-handed ones stay as they are."""
    right = bulk('ZnO', 'wurtzite', a=3.25, c=5.21)
    left = right.copy()
    left.set_cell(np.array(right.cell)[[1, 0, 2]])
    write(tmp_path / 'POSCAR', left, format='vasp')
    (crystal,) = read_crystals([tmp_path])
    np.testing.assert_allclose(crystal.atoms.cell, -np.array(left.cell), atol=1e-12)
    np.testing.assert_allclose(crystal.atoms.positions, left.positions, atol=1e-12)
    assert spacegroup(crystal.atoms) == spacegroup(right) == 'P6_3mc (186)'
    write(tmp_path / 'POSCAR', right, format='vasp')
    (crystal,) = read_crystals([tmp_path])
    np.testing.assert_allclose(crystal.atoms.cell, right.cell, atol=1e-12)


def test_folders(tmp_path):
    for name in ('b.cif', 'a.cif', 'deep/er/POSCAR', 'deep/README.md', 'deep/a.cif.bak', 'x.py'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('')
    (tmp_path / 'folder.cif').mkdir()
    found = structure_files([tmp_path, tmp_path / 'a.cif'])
    assert [str(p.relative_to(tmp_path)) for p in found] == ['a.cif', 'b.cif', 'deep/er/POSCAR']
    with pytest.raises(FileNotFoundError, match='no file or folder'):
        structure_files([tmp_path / 'absent.cif'])
    assert list(read_crystals([tmp_path / 'deep' / 'er'])) != []


def test_born_charges_beside_the_structure(tmp_path):
    write(tmp_path / 'NaCl.cif', NACL)
    write(tmp_path / 'other.cif', NACL)
    (tmp_path / 'NaCl.BORN').write_text('x')
    first, second = read_crystals([tmp_path])
    assert first.born == tmp_path / 'NaCl.BORN'
    assert second.born is None


def test_born_charges_go_by_the_name_of_the_crystal(tmp_path):
    """POSCAR.MgO is no suffix of POSCAR: its charges are its own; and no file of charges is a structure."""
    for name in ('POSCAR', 'POSCAR.MgO', 'POSCAR.NaCl', 'a.b.vasp'):
        write(tmp_path / name, NACL, format='vasp')
    for name in ('POSCAR.BORN', 'POSCAR.NaCl.BORN', 'a.b.BORN'):
        (tmp_path / name).write_text('x')
    assert {c.name: c.born and c.born.name for c in read_crystals([tmp_path])} == {
        'POSCAR': 'POSCAR.BORN',
        'POSCAR.MgO': None,
        'POSCAR.NaCl': 'POSCAR.NaCl.BORN',
        'a.b': 'a.b.BORN',
    }


def test_one_file_of_born_charges_is_not_of_several_crystals(tmp_path):
    write(tmp_path / 'a.extxyz', [NACL, NACL])
    (tmp_path / 'a#1.BORN').write_text('x')
    first, second = read_crystals([tmp_path])
    assert (first.born, second.born) == (None, tmp_path / 'a#1.BORN')
    (tmp_path / 'a.BORN').write_text('x')
    for crystal in read_crystals([tmp_path]):
        assert crystal.atoms is None
        assert 'a.BORN is of one crystal, a.extxyz holds 2: rename it to a#0.BORN' in crystal.error


def test_large_and_unreadable_files(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, 'LARGEST_FILE', 100)
    assert 'wanted at most 100' in one(tmp_path, 'a.cif', HEADER + SITES).error
    (tmp_path / 'loop.cif').symlink_to(tmp_path / 'loop.cif')
    assert structure_files([tmp_path]) == [tmp_path / 'a.cif']


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=400), name=st.sampled_from(['a.cif', 'a.xyz', 'POSCAR']))
def test_garbage_is_an_error_never_a_crash(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        crystals = list(read_crystals([tmp_path / name]))
    assert crystals
    assert all(c.atoms is None and c.error for c in crystals)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_are_read_or_refused(tmp_path, data):
    """A good file with bytes cut out, doubled or changed: a crystal that passes the checks, or an error."""
    name, good = data.draw(
        st.sampled_from(
            [
                ('a.cif', HEADER + SITES),
                ('a.xyz', f'2\n{LATTICE}\nNa 0 0 0\nCl 2.8 0 0\n'),
                ('POSCAR', 'x\n1\n5 0 0\n0 5 0\n0 0 5\nNa Cl\n1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n'),
            ]
        )
    )
    raw = bytearray(good.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(raw) - 1))
        raw[start : start + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=6))
        raw = raw or bytearray(b'x')
    (tmp_path / name).write_bytes(bytes(raw))
    for crystal in read_crystals([tmp_path / name]):
        assert (crystal.atoms is None) == bool(crystal.error)
        if crystal.atoms is not None:
            assert len(crystal.atoms) >= 1
            assert crystal.atoms.get_volume() > 0
