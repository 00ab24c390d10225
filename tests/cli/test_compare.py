"""``aiida-mlfc compare`` in processes of its own: references and potentials, refusals, exit codes, scoreboard, page."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from phonopy import Phonopy

from aiida_mlfc.cli.comparing import Outcome, scoreboard
from aiida_mlfc.core.comparison.compare import compare
from aiida_mlfc.core.comparison.record import ROW_KEYS, refused_row
from aiida_mlfc.core.structures.cells import to_ase, to_phonopy
from tests.core.comparison.crystals import force_constants_of

ERRORS = ROW_KEYS[1:8]


def write_reference(folder: Path, atoms: Atoms, multiples: int, step: float = 0.01) -> Path:
    """phonopy_params.yaml with forces by EMT."""
    phonon = Phonopy(to_phonopy(atoms), np.eye(3, dtype=int) * multiples, primitive_matrix='P', log_level=0)
    phonon.generate_displacements(distance=step)
    forces = []
    for supercell in phonon.supercells_with_displacements:
        displaced = to_ase(supercell)
        displaced.calc = EMT()
        forces.append(displaced.get_forces())
    phonon.forces = forces
    folder.mkdir(parents=True)
    phonon.save(folder / 'phonopy_params.yaml')
    return folder


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """A set with two good references and one without forces, and a second set that lacks one of them."""
    root = tmp_path_factory.mktemp('references')
    write_reference(root / 'set' / 'aluminium', bulk('Al', a=3.99), 3)
    write_reference(root / 'set' / 'copper', bulk('Cu', a=3.61), 3)
    broken = write_reference(root / 'set' / 'no_forces', bulk('Al', a=3.99), 2) / 'phonopy_params.yaml'
    text = broken.read_text()
    broken.write_text(text[: text.index('displacements:')])
    write_reference(root / 'other' / 'aluminium', bulk('Al', a=3.99), 3, 0.02)
    return root


@pytest.fixture(scope='module')
def command(make_command):
    return make_command()


def test_itself_is_zero_and_no_profile_is_made(command, folder):
    path = folder / 'set' / 'aluminium'
    done = command('compare', path, path, '--json')
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert tuple(row)[: len(ROW_KEYS)] == ROW_KEYS
    assert {key: row[key] for key in ERRORS} == dict.fromkeys(ERRORS, 0.0)
    assert (row['status'], row['nac'], row['stable_a'], row['stable_b']) == ('ok', 'none', True, True)
    assert not list(command.home.rglob('config.json'))


def test_folders_are_paired_by_name_and_refusals_say_why(command, folder):
    done = command('compare', folder / 'set', folder / 'other', '--json')
    assert done.returncode == 1
    rows = {row['name']: row for row in json.loads(done.stdout)}
    assert set(rows) == {'aluminium', 'copper', 'no_forces'}
    # other steps of the same central differences: some 1e-4
    assert 0 < rows['aluminium']['relative_frobenius'] < 0.01
    assert rows['copper']['error'] == 'there is none of this name in other'
    assert 'no force constants' in rows['no_forces']['error']
    assert all(rows[name][key] is None for name in ('copper', 'no_forces') for key in ERRORS)


def test_scoreboard_of_a_set_and_its_page(command, folder, tiny_checkpoint, tmp_path):
    """The tiny potential knows aluminium and not copper; its numbers mean nothing."""
    page = tmp_path / 'page.html'
    checkpoint = shutil.copyfile(tiny_checkpoint, tmp_path / 'tiny.safetensors')
    arguments = ('compare', '--set', folder / 'set', '--potential', checkpoint)
    done = command(*arguments, '--json', '-o', page, '--work', tmp_path / 'work')
    assert done.returncode == 1
    content = json.loads(done.stdout)
    rows = {row['name']: row for row in content['rows']}
    assert rows['aluminium']['status'] == 'ok'
    assert (rows['aluminium']['b'], rows['aluminium']['geometry']) == ('tiny', 'reference')
    assert 'does not know Cu' in rows['copper']['error']
    (score,) = content['scoreboard']
    assert (score['name'], score['n_references'], score['n_failed']) == ('tiny', 1, 2)
    assert score['errors']['frequency_mae_THz']['mean'] == pytest.approx(rows['aluminium']['frequency_mae'])
    assert score['seconds'] > 0
    text = page.read_text()
    assert 'crystal-0' in text
    assert 'http://' not in text.split('<script type="application/json" id="overview">')[0]
    # again in the same folder: the job is done already
    again = command(*arguments, '--work', tmp_path / 'work')
    assert '1 done already' in again.stderr
    assert 'tiny' in again.stdout
    assert 'does not know Cu' in ' '.join(again.stdout.split())


def test_potentials_that_know_different_crystals_are_also_compared_on_the_common_ones():
    """One knows aluminium and copper, the other only aluminium, and better."""
    atoms = {'Al': bulk('Al', a=4.05), 'Cu': bulk('Cu', a=3.61)}
    outcomes = []
    for label, names, stretch in (('both', ('Al', 'Cu'), 1.44), ('one', ('Al',), 1.21)):
        for name in names:
            pair = [force_constants_of(atoms[name], (2, 2, 2), stretch=s) for s in (1.0, stretch)]
            summary = compare(*pair, name, mesh_length=10.0, points_per_segment=4).summary
            outcomes.append(Outcome({**summary.row(), 'a': 'set', 'b': label}, summary, seconds=1.0))
    outcomes.append(Outcome({**refused_row('Cu', 'unknown'), 'a': 'set', 'b': 'one'}))
    scores = {score.name: score for score in scoreboard(outcomes)}
    assert list(scores) == ['both', 'one', 'both, common', 'one, common']
    assert (scores['both'].n_references, scores['both, common'].n_references, scores['one'].n_failed) == (2, 1, 1)
    errors = {name: score.errors['relative_frobenius'].mean for name, score in scores.items()}
    assert errors['both, common'] == pytest.approx(0.44)
    assert errors['one, common'] == errors['one'] == pytest.approx(0.21)
    assert scores['both'].seconds == 2.0


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('one',), 'at least two'),
        (('nothing-here', 'dx-demo'), 'neither a file or folder nor the name of a potential'),
        (('dx-demo', 'dx-demo'), 'both potentials'),
        (('--set', '.'), '--set FOLDER goes with'),
    ],
)
def test_what_cannot_be_meant_is_said(command, arguments, message):
    done = command('compare', *arguments)
    assert done.returncode == 2
    assert message in ' '.join(done.stderr.replace('│', ' ').split())
