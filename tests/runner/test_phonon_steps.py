"""Relaxation, force constants and phonons in one task: the same numbers as by themselves; what is left of failures."""

import numpy as np
import pytest
from ase.build import bulk

from aiida_mlfc.core.potentials.registry import load_potential
from aiida_mlfc.exchange.arrays import read_array, read_arrays
from aiida_mlfc.exchange.job import JobFileError, structure_arrays, structure_from_arrays
from aiida_mlfc.exchange.names import ARRAYS_FILE, FORCE_CONSTANTS_FILE, RELAXED_FILE, UNIT_CELL_FILE
from aiida_mlfc.exchange.relaxation_rounds import next_round
from aiida_mlfc.exchange.results import read_result
from aiida_mlfc.runner import steps, work
from aiida_mlfc.runner.options import read_options
from aiida_mlfc.runner.outcome import StepFailed
from aiida_mlfc.runner.phonon_steps import run_phonon_steps
from aiida_mlfc.runner.run import run_job
from aiida_mlfc.runner.tasks import run_force_constants, run_phonons, run_relax

RELAX = {'fmax': 1e-4}
FORCE_CONSTANTS = {'supercell_matrix': [2, 2, 2], 'truncation_qpoints': 2}
PHONONS = {'mesh_length': 12.0, 'points_per_segment': 5}
OPTIONS = {'relax': RELAX, 'force_constants': FORCE_CONSTANTS, 'phonons': PHONONS}


@pytest.fixture
def model(tiny_checkpoint):
    return load_potential(tiny_checkpoint)


@pytest.fixture
def wurtzite():
    """Not at rest: one coordinate is left free by symmetry."""
    return bulk('AlSi', 'wurtzite', a=3.5, c=5.7, u=0.38)


def written(outcome, folder):
    data, write_files = outcome
    folder.mkdir()
    write_files(folder)
    return data, folder


def without_cost(data):
    """What does not change from run to run."""
    quality = {k: v for k, v in data.get('quality', {}).items() if k not in ('seconds', 'peak_memory')}
    return {**data, 'quality': quality}


def test_same_as_step_by_step(model, wurtzite, tmp_path):
    together, folder = written(
        run_phonon_steps({'structure': structure_arrays(wurtzite)}, read_options('phonon_steps', OPTIONS), model),
        tmp_path / 'together',
    )
    relaxed, at = written(
        run_relax({'structure': structure_arrays(wurtzite)}, read_options('relax', RELAX), model), tmp_path / 'relax'
    )
    structure = read_arrays(at / ARRAYS_FILE)['structure']
    np.testing.assert_equal(together['relax'], {**relaxed, 'n_rounds': 1})
    np.testing.assert_array_equal(
        read_arrays(folder / RELAXED_FILE)['structure']['positions'], structure['positions']
    )
    assert np.abs(structure['positions'] - wurtzite.positions).max() > 1e-3
    made, at = written(
        run_force_constants({'structure': structure}, read_options('force_constants', FORCE_CONSTANTS), model),
        tmp_path / 'force_constants',
    )
    np.testing.assert_equal(without_cost(together['force_constants']), without_cost(made))
    array = read_array(at / FORCE_CONSTANTS_FILE, 'force_constants')
    np.testing.assert_array_equal(read_array(folder / FORCE_CONSTANTS_FILE, 'force_constants'), array)
    unitcell = read_arrays(at / ARRAYS_FILE)['structure']
    np.testing.assert_array_equal(
        read_arrays(folder / UNIT_CELL_FILE)['structure']['positions'], unitcell['positions']
    )
    given = {**made, 'array': array}
    analysed, at = written(
        run_phonons({'structure': unitcell, 'force_constants': given}, read_options('phonons', PHONONS), None),
        tmp_path / 'phonons',
    )
    np.testing.assert_equal(together['phonons'], analysed)
    np.testing.assert_equal(read_arrays(folder / ARRAYS_FILE), read_arrays(at / ARRAYS_FILE))


def test_as_it_is(model, wurtzite, tmp_path):
    """Without a relaxation there is none, and the structure is that which was given."""
    options = read_options('phonon_steps', {**OPTIONS, 'relax': None})
    assert options.relax is None
    data, folder = written(
        run_phonon_steps({'structure': structure_arrays(wurtzite)}, options, model), tmp_path / 'result'
    )
    assert set(data) == {'force_constants', 'phonons'}
    assert not (folder / RELAXED_FILE).exists()
    found = structure_from_arrays(read_arrays(folder / UNIT_CELL_FILE)['structure'])
    np.testing.assert_allclose(found.positions, wurtzite.positions, atol=1e-9)


def test_a_relaxation_that_does_not_converge_goes_on(model, wurtzite):
    """One step is not enough; from where it stopped there are two, then four of another optimiser."""
    few = {**OPTIONS, 'relax': {'steps': 1, 'fmax': 1e-3}}
    data, _ = run_phonon_steps({'structure': structure_arrays(wurtzite)}, read_options('phonon_steps', few), model)
    assert data['relax']['n_rounds'] == 2
    moved = data['relax']['max_displacement']
    whole = run_relax({'structure': structure_arrays(wurtzite)}, read_options('relax', {'fmax': 1e-3}), model)[0]
    assert moved == pytest.approx(whole['max_displacement'], rel=1e-2), 'displacements count from the beginning'
    rattled = wurtzite.copy()
    rattled.rattle(0.05, seed=1)
    with pytest.raises(StepFailed, match='after 4 steps') as failed:
        run_phonon_steps({'structure': structure_arrays(rattled)}, read_options('phonon_steps', few), model)
    assert failed.value.step == 'relax'
    assert failed.value.data == {}
    assert failed.value.error.atoms is not None


def test_rounds():
    first = next_round({'fmax': 1e-3}, 1)
    assert first == {'fmax': 1e-3, 'steps': 1000, 'optimizer': 'newton'}
    assert next_round(first, 2) == {'fmax': 1e-3, 'steps': 2000, 'optimizer': 'bfgs'}
    assert next_round({'optimizer': 'bfgs', 'steps': 3}, 2) == {'steps': 6, 'optimizer': 'newton'}


@pytest.mark.parametrize('step', ['force_constants', 'phonons'])
def test_what_was_done_before_a_failure_is_kept(tmp_path, make_job, wurtzite, silicon, monkeypatch, step):
    """The crystal has failed, in a step that is named, and its relaxed structure is there; the other one is whole."""
    original = getattr(steps, f'{step}_of')

    def broken(first, *others):
        atoms = first if step == 'force_constants' else first.unitcell
        if len(atoms) == 4:
            raise ValueError('something is wrong with it')
        return original(first, *others)

    monkeypatch.setattr(f'aiida_mlfc.runner.phonon_steps.{step}_of', broken)
    folder = make_job(tmp_path, {'w': wurtzite, 'Si': silicon}, 'phonon_steps', **OPTIONS)
    assert run_job(folder) == 4
    assert read_result(folder, 'Si')['status'] == 'ok'
    result = read_result(folder, 'w')
    assert result['status'] == 'failed'
    assert (result['error']['type'], result['error']['step']) == ('ValueError', step)
    assert result['error']['message'] == 'something is wrong with it'
    done = {'relax'} if step == 'force_constants' else {'relax', 'force_constants'}
    assert set(result['data']) == done
    relaxed = structure_from_arrays(read_arrays(folder / 'results' / 'w' / RELAXED_FILE)['structure'])
    assert len(relaxed) == 4
    assert not (folder / 'results' / 'w' / FORCE_CONSTANTS_FILE).exists()


def test_memory_refused_in_a_step(tmp_path, make_job, silicon, monkeypatch):
    """Tried again with the least memory, and stated as in a task of one step."""
    tries = []

    def greedy(*arguments):
        tries.append(len(tries))
        raise MemoryError('Unable to allocate 3 TiB')

    monkeypatch.setattr('aiida_mlfc.runner.phonon_steps.force_constants_of', greedy)
    folder = make_job(tmp_path, {'Si': silicon}, 'phonon_steps', **OPTIONS)
    assert run_job(folder) == 4
    assert len(tries) == 2
    result = read_result(folder, 'Si')
    assert (result['error']['type'], result['error']['step']) == ('OutOfMemoryError', 'force_constants')
    assert 'also with the least memory' in result['error']['message']
    assert 'Unable to allocate 3 TiB' in result['error']['message']
    assert set(result['data']) == {'relax'}
    assert 'phonon_steps' in work.TASKS


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        ({'relaxx': {}}, 'phonon_steps has no option relaxx'),
        ({'relax': {'fmaxx': 1.0}}, 'relax has no option fmaxx'),
        ({'phonons': 3}, 'option phonons: got 3, wanted the options of task phonons'),
        ({'phonons': None}, 'option phonons: got None'),
        ({'relax': {'fmax': float('nan')}}, 'wanted finite'),
        ({'relax': {'dtype': 'float32'}}, "got 'float32' for relax and 'float64' for force_constants"),
    ],
)
def test_options_that_are_none(options, match):
    with pytest.raises(JobFileError, match=match):
        read_options('phonon_steps', options)
