"""``aiida-mlfc reference``: import, list, compute; in a profile that the command makes itself."""

import json
import os
import shutil
from pathlib import Path

import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from phonopy import Phonopy
from phonopy.file_IO import write_FORCE_SETS
from phonopy.interface.vasp import write_vasp

from aiida_mlfc.cli.reference_import import import_references
from aiida_mlfc.core.structures.cells import to_ase, to_phonopy
from aiida_mlfc.data.references import GROUP

PSEUDOS = Path('/usr/share/espresso/pseudo')


def write_reference(folder, atoms, supercell_matrix=(2, 2, 2)):
    """POSCAR, phonopy.conf and FORCE_SETS of a crystal with EMT."""
    folder.mkdir()
    phonon = Phonopy(to_phonopy(atoms), supercell_matrix=supercell_matrix, primitive_matrix='P', log_level=0)
    phonon.generate_displacements(distance=0.01)
    sets = []
    for cell in phonon.supercells_with_displacements:
        displaced = to_ase(cell)
        displaced.calc = EMT()
        sets.append(displaced.get_forces())
    phonon.forces = sets
    write_FORCE_SETS(phonon.dataset, filename=str(folder / 'FORCE_SETS'))
    write_vasp(str(folder / 'POSCAR'), phonon.unitcell)
    (folder / 'phonopy.conf').write_text(f'DIM = {" ".join(map(str, supercell_matrix))}\n')


@pytest.fixture(scope='module')
def references(tmp_path_factory):
    """Two good ones, one of them twice, and three that are broken in ways that happen."""
    folder = tmp_path_factory.mktemp('references')
    write_reference(folder / 'copper', bulk('Cu', 'fcc', a=3.6))
    write_reference(folder / 'gold', bulk('Au', 'fcc', a=4.06))
    shutil.copytree(folder / 'copper', folder / 'copper_again')
    for name in ('corrupted', 'missing_forces', 'mismatched'):
        shutil.copytree(folder / 'gold', folder / name)
    text = (folder / 'gold' / 'FORCE_SETS').read_text()
    (folder / 'corrupted' / 'FORCE_SETS').write_text(text.replace('.', 'x'))
    (folder / 'missing_forces' / 'FORCE_SETS').write_text('\n'.join(text.splitlines()[:-3]) + '\n')
    (folder / 'mismatched' / 'phonopy.conf').write_text('DIM = 3 3 3\n')
    return folder


@pytest.fixture(scope='module')
def home(make_command, references):
    """A profile into which everything was imported once."""
    command = make_command()
    command.first = command('reference', 'import', references, '--json')
    return command


def test_bad_ones_are_named_and_the_others_imported(home):
    assert home.first.returncode == 1, home.first.stderr
    rows = {row['name']: row for row in json.loads(home.first.stdout)}
    statuses = {name: row['status'] for name, row in rows.items()}
    assert statuses == {
        'copper': 'imported',
        'copper_again': 'known',
        'corrupted': 'failed',
        'gold': 'imported',
        'mismatched': 'failed',
        'missing_forces': 'failed',
    }
    errors = {rows[name]['error'] for name in ('corrupted', 'mismatched', 'missing_forces')}
    assert len(errors) == 3
    assert all(errors)
    assert rows['gold']['formula'] == 'Au'
    assert '2 imported, 1 known, 3 failed' in home.first.stderr


def test_second_import_repeats_nothing(home, references):
    again = home('reference', 'import', references / 'copper', references / 'gold')
    assert again.returncode == 0, again.stderr
    assert '0 imported, 2 known, 0 failed' in again.stderr
    listed = json.loads(home('reference', 'list', '--json').stdout)
    assert sorted(row['formula'] for row in listed) == ['Au', 'Cu']
    assert {row['n_supercell_atoms'] for row in listed} == {8}
    assert {Path(row['source']).name for row in listed} == {'copper', 'gold'}
    assert {row['functional'] for row in listed} == {'not stated'}
    text = home('reference', 'list').stdout
    assert listed[0]['uuid'][:8] in text
    code = 'from aiida.orm import load_group; print(load_group("mlfc/references").count())'
    assert home.python(code) == '2'


@pytest.mark.parametrize('in_archive', [False, True])
def test_what_a_killed_import_stored_joins_the_group_later(aiida_profile_clean, tmp_path, monkeypatch, in_archive):
    """Nodes join the group some at a time; after a kill they are there, known, and in nobody's group."""
    from aiida.orm import Group

    folder = tmp_path / 'both'
    folder.mkdir()
    for name, atoms in (('copper', bulk('Cu', 'fcc', a=3.6)), ('gold', bulk('Au', 'fcc', a=4.06))):
        write_reference(folder / name, atoms)
    shutil.copytree(folder / 'copper', folder / 'copper_again')
    source = Path(shutil.make_archive(str(folder), 'zip', folder)) if in_archive else folder
    with monkeypatch.context() as killed:
        killed.setattr('aiida_mlfc.cli.reference_import.add_to_group', lambda nodes: None)
        statuses = [done.status for done in import_references([source])]
    assert sorted(statuses) == ['imported', 'imported', 'known']
    members = Group.collection.get_or_create(label=GROUP)[0]
    assert members.count() == 0
    again = [done.status for done in import_references([source])]
    assert set(again) == {'known'}
    found = [node.label.rpartition('/')[2].removesuffix('_again') for node in members.nodes]
    assert sorted(found) == ['copper', 'gold']
    # one that somebody took out of the group stays out when others are imported
    members.remove_nodes(list(members.nodes))
    write_reference(tmp_path / 'silver', bulk('Ag', 'fcc', a=4.06))
    assert [done.status for done in import_references([tmp_path / 'silver'])] == ['imported']
    assert [node.label for node in members.nodes] == ['silver']


def test_compare_says_what_the_potential_does_not_know(home, tmp_path):
    """Without a single job: rows with reasons, and an exit code."""
    found = home('reference', 'compare', '--potential', 'dx-demo', '--json')
    assert found.returncode == 1, found.stderr
    content = json.loads(found.stdout[found.stdout.index('{') :])
    assert {row['name'].removesuffix('_again') for row in content['rows']} == {'copper', 'gold'}
    assert all('does not know' in row['error'] for row in content['rows'])
    assert content['aggregate'] is None
    unknown = home('reference', 'compare', 'platinum')
    assert unknown.returncode == 2
    assert "no reference is called 'platinum'" in unknown.stderr


def test_nothing_there_is_an_error(home, tmp_path):
    found = home('reference', 'import', tmp_path)
    assert found.returncode == 1
    assert 'found no reference' in found.stderr


@pytest.fixture
def silicon_file(tmp_path):
    path = tmp_path / 'silicon.poscar'
    bulk('Si', 'diamond', a=5.388).write(path, format='vasp', direct=True)
    return path


def test_compute_refuses_what_it_cannot_know(home, silicon_file, tmp_path):
    neither = home('reference', 'compute', silicon_file)
    assert neither.returncode == 2
    assert 'give either --pseudos PATH or --family LABEL' in neither.stderr
    empty = tmp_path / 'empty'
    empty.mkdir()
    nothing = home('reference', 'compute', silicon_file, '--pseudos', empty)
    assert nothing.returncode == 1
    assert 'no pseudopotential for Si' in nothing.stderr


def test_compute_silicon(home, silicon_file):
    """From a POSCAR to the optical mode of LDA silicon; run again, pw.x is not."""
    pseudo = PSEUDOS / 'Si.pz-vbc.UPF'
    if shutil.which('pw.x') is None or not pseudo.exists():
        reason = 'pw.x or its pseudopotentials not found; tests/services/install_quantum_espresso.sh installs them'
        if os.environ.get('CI'):
            pytest.fail(reason)
        pytest.skip(reason)
    arguments = ['reference', 'compute', silicon_file, '--pseudos', pseudo, '--insulator', '--shifted', '--json']
    unknown = home(*arguments)
    assert unknown.returncode == 2
    assert 'state no cutoffs: give --cutoffs' in unknown.stderr
    arguments += ['--cutoffs', 20, 80, '--supercell', 1, 1, 1, '--kpoints', 4, 4, 4]
    first, second = home(*arguments), home(*arguments)
    assert first.returncode == 0, first.stderr
    found = json.loads(first.stdout[first.stdout.index('{') :])
    assert found['gamma_frequencies'][3:] == pytest.approx([15.3] * 3, rel=0.01)
    assert found['functional'] == 'LDA (PZ)'
    assert found['n_supercell_atoms'] == 2
    assert second.returncode == 0, second.stderr
    code = (
        'from aiida.orm import CalcJobNode, QueryBuilder; jobs = QueryBuilder().append(CalcJobNode).all(flat=True); '
        'print(len(jobs), sum(job.base.caching.is_created_from_cache for job in jobs))'
    )
    assert home.python(code) == '4 2'
    names = [row['name'] for row in json.loads(home('reference', 'list', '--json').stdout)]
    assert names.count('silicon') == 2
