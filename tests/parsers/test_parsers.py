"""Parsers on folders that ``mlfc-run`` really left, whole and damaged: nothing partial passes as a success."""

import json
import shutil

import h5py
import numpy as np
import pytest

from aiida_mlfc.data.evaluation import ARRAYS
from aiida_mlfc.exchange.arrays import read_arrays, write_arrays

from .conftest import GOOD_STDERR, code


def test_force_constants(folder, parse, silicon):
    path = folder()
    outputs, process = parse(path)
    assert process.exit_status == 0
    rows = outputs['output_parameters'].get_dict()
    assert set(rows) == {'Si', 'NaCl'}
    assert rows['Si']['status'] == 'ok'
    assert rows['Si']['name'] == 'crystal Si'
    for key in rows:
        node = outputs['output_force_constants'][key]
        with h5py.File(path / 'results' / key / 'force_constants.hdf5') as handle:
            np.testing.assert_array_equal(node.get_array('force_constants'), handle['force_constants'][...])
        assert node.label == key
        assert node.base.attributes.get('quality')['method'] == 'autograd'
    np.testing.assert_allclose(outputs['output_force_constants']['Si'].cell, silicon.cell, atol=1e-12)


def test_relax(folder, parse, silicon):
    outputs, process = parse(folder('relax'), 'relax')
    assert process.exit_status == 0
    relaxed = outputs['output_structures']['Si']
    np.testing.assert_allclose(relaxed.get_ase().positions, silicon.positions, atol=1e-9)
    assert relaxed.label == 'Si'
    assert outputs['output_parameters']['NaCl']['spacegroup_after'] == 'Fm-3m (225)'


def test_no_results(folder, parse):
    path = folder()
    shutil.rmtree(path / 'results')
    (path / 'results.json').unlink()
    outputs, process = parse(path)
    assert process.exit_status == code('ERROR_OUTPUT_RESULTS_MISSING')
    assert not outputs


@pytest.mark.parametrize('without', ['stderr', 'nothing'])
def test_partial(folder, parse, without):
    """Killed after the first: its result is kept, and the job is no success."""
    path = folder()
    shutil.move(path / 'results' / 'NaCl', path / 'results' / '.NaCl.partial')
    (path / 'results.json').unlink()
    if without == 'stderr':
        (path / 'mlfc-run.err').unlink()
    outputs, process = parse(path)
    assert process.exit_status == code('ERROR_OUTPUT_RESULTS_INCOMPLETE')
    assert '1 of 2' in process.exit_message
    assert set(outputs['output_parameters'].get_dict()) == {'Si'}
    assert set(outputs['output_force_constants']) == {'Si'}


def test_all_results_but_no_end(folder, parse):
    path = folder()
    (path / 'results.json').unlink()
    assert parse(path)[1].exit_status == code('ERROR_OUTPUT_RESULTS_INCOMPLETE')


def damage_json(path):
    (path / 'results' / 'Si' / 'result.json').write_text('{"key": "Si", "stat')


def damage_arrays(path):
    file = path / 'results' / 'Si' / 'force_constants.hdf5'
    file.write_bytes(file.read_bytes()[:500])


def damage_cell(path):
    (path / 'results' / 'Si' / 'arrays.hdf5').unlink()


def damage_shape(path):
    with h5py.File(path / 'results' / 'Si' / 'force_constants.hdf5', 'a') as handle:
        del handle['force_constants']
        handle['force_constants'] = np.zeros((2, 8, 3, 3))


def damage_number(path):
    with h5py.File(path / 'results' / 'Si' / 'force_constants.hdf5', 'a') as handle:
        handle['force_constants'][0, 0, 0, 0] = np.nan


def damage_content(path):
    file = path / 'results' / 'Si' / 'result.json'
    content = json.loads(file.read_text())
    del content['data']['supercell_matrix']
    file.write_text(json.dumps(content))


def damage_summary(path):
    (path / 'results.json').write_text('{"task": "for')


def damage_summary_kind(path):
    (path / 'results.json').write_text('[]')


@pytest.mark.parametrize(
    'damage',
    [
        damage_json,
        damage_arrays,
        damage_cell,
        damage_shape,
        damage_number,
        damage_content,
        damage_summary,
        damage_summary_kind,
    ],
)
def test_unreadable(folder, parse, damage):
    path = folder()
    damage(path)
    _, process = parse(path)
    assert process.exit_status == code('ERROR_OUTPUT_RESULTS_UNREADABLE')
    assert len(process.exit_message) > 30


def test_results_of_another_potential(folder, parse, potential_node):
    path = folder()
    content = json.loads((path / 'results.json').read_text())
    (path / 'results.json').write_text(json.dumps(content | {'potential_sha256': 'abc'}))
    _, process = parse(path)
    assert process.exit_status == code('ERROR_WRONG_POTENTIAL')
    assert potential_node.sha256 in process.exit_message


def test_some_failed(folder, parse):
    path = folder()
    file = path / 'results' / 'NaCl' / 'result.json'
    content = json.loads(file.read_text())
    del content['data']
    content |= {'status': 'failed', 'error': {'type': 'ValueError', 'message': 'too <b>', 'traceback': 'Traceback...'}}
    file.write_text(json.dumps(content))
    outputs, process = parse(path)
    assert process.exit_status == code('ERROR_SOME_STRUCTURES_FAILED')
    assert 'NaCl' in process.exit_message
    assert outputs['output_parameters']['NaCl']['error'] == {'type': 'ValueError', 'message': 'too <b>'}
    assert set(outputs['output_force_constants']) == {'Si'}


@pytest.mark.parametrize(
    'line',
    [
        'mlfc-run: task force_constants has no option methd',
        'mlfc-run: potential: tiny.safetensors is not a safetensors file',
    ],
)
def test_refused(folder, parse, line):
    path = folder()
    shutil.rmtree(path / 'results')
    (path / 'mlfc-run.err').write_text(f'some module was loaded\n{line}\n')
    _, process = parse(path)
    assert process.exit_status == code('ERROR_JOB_REFUSED')
    assert line.removeprefix('mlfc-run: ') in process.exit_message


@pytest.mark.parametrize(
    'content',
    [
        b'mlfc-run: stopped by SIGTERM; finished structures are kept\n',
        b'\xff\xfe slurmstepd: error\n',
        b'',
        GOOD_STDERR.encode() + b'mlfc-run: results cannot be written: disk full\n',
    ],
)
def test_stopped_before_the_first_result_is_not_refused(folder, parse, content):
    """The walltime may end while torch is still being imported: that job can be restarted."""
    path = folder()
    shutil.rmtree(path / 'results')
    (path / 'mlfc-run.err').write_bytes(content)
    wanted = 'ERROR_JOB_STOPPED' if b'SIGTERM' in content else 'ERROR_OUTPUT_RESULTS_MISSING'
    assert parse(path)[1].exit_status == code(wanted)


@pytest.mark.parametrize(
    ('said', 'status'),
    [
        ('\nslurmstepd: error: Exceeded job memory limit\n', 110),
        ('x\nslurmstepd: error: Detected 1 oom-kill event(s) in StepId=3.batch.\n', 110),
        ('slurmstepd: error: *** JOB 3 ON n1 CANCELLED AT 2026-11-21T10:00:00 DUE TO TIME LIMIT ***\n', 120),
        ('x\nslurmstepd: error: *** JOB 3 ON n1 CANCELLED AT 2026 DUE TO NODE FAILURE ***\n', 140),
        ('slurmstepd: error: *** JOB 3 ON n1 CANCELLED AT 2026-11-21T10:00:00 ***\n', 307),
        ('some module was loaded\n', 303),
    ],
)
def test_what_the_scheduler_says(folder, parse, said, status):
    """Without accounting, or behind a first line of another kind, AiiDA itself does not see it."""
    path = folder()
    shutil.rmtree(path / 'results' / 'NaCl')
    (path / 'results.json').unlink()
    (path / '_scheduler-stderr.txt').write_text(said)
    outputs, process = parse(path)
    assert process.exit_status == status
    assert '1 of 2 are' in process.exit_message
    assert set(outputs['output_force_constants']) == {'Si'}


def test_one_broken_result_is_one_failure(folder, parse):
    """The other one is attached, and the exit message names the broken one."""
    path = folder()
    damage_arrays(path)
    outputs, process = parse(path)
    assert process.exit_status == code('ERROR_OUTPUT_RESULTS_UNREADABLE')
    assert 'Si: ' in process.exit_message
    assert set(outputs['output_force_constants']) == {'NaCl'}
    rows = outputs['output_parameters'].get_dict()
    assert rows['Si']['error']['type'] == 'UnreadableResult'
    assert rows['NaCl']['status'] == 'ok'


def test_data_cannot_pretend_to_be_something_else(folder, parse):
    """What a result file says of its numbers does not replace its status, its name, or the file system."""
    path = folder()
    file = path / 'results' / 'Si' / 'result.json'
    content = json.loads(file.read_text())
    content['data'] |= {'status': 'failed', 'error': {'type': 'x', 'message': 'y'}, 'name': '\x1b[2J'}
    file.write_text(json.dumps(content))
    target = path.parent / 'elsewhere.hdf5'
    shutil.move(path / 'results' / 'NaCl' / 'arrays.hdf5', target)
    (path / 'results' / 'NaCl' / 'arrays.hdf5').symlink_to(target)
    outputs, process = parse(path)
    rows = outputs['output_parameters'].get_dict()
    assert rows['Si']['status'] == 'ok'
    assert rows['Si']['name'] == 'crystal Si'
    assert 'symbolic link' in rows['NaCl']['error']['message']
    assert process.exit_status == code('ERROR_OUTPUT_RESULTS_UNREADABLE')


def test_other_atoms_in_the_relaxed_structure(folder, parse):
    path = folder('relax')
    shutil.rmtree(path / 'results' / 'Si')
    shutil.copytree(path / 'results' / 'NaCl', path / 'results' / 'Si')
    file = path / 'results' / 'Si' / 'result.json'
    file.write_text(file.read_text().replace('"key": "NaCl"', '"key": "Si"'))
    _, process = parse(path, 'relax')
    assert process.exit_status == code('ERROR_OUTPUT_RESULTS_UNREADABLE', 'relax')
    assert 'other atoms' in process.exit_message


def test_evaluate(folder, parse):
    path = folder('evaluate')
    outputs, process = parse(path, 'evaluate')
    assert process.exit_status == 0
    for key in ('Si', 'NaCl'):
        node = outputs['output_evaluations'][key].store()
        assert node.label == key
        stored = read_arrays(path / 'results' / key / 'arrays.hdf5')
        assert set(node.get_arraynames()) == set(ARRAYS) == set(stored)
        for name in ARRAYS:
            np.testing.assert_array_equal(node.get_array(name), stored[name])
        assert node.get_array('gradient_atom_types').shape == (2, 4)
        assert node.base.attributes.get('units')['stress'] == 'GPa'
        assert outputs['output_parameters'][key]['energy'] == node.get_array('energy')


@pytest.mark.parametrize('change', [
    {'forces': np.zeros((3, 3))}, {'gradient_atom_types': np.zeros((2, 3))}, {'stress': np.full((3, 3), np.nan)},
    {'energy': np.zeros(1)}, {'species': 11}, {'gradient_lattice': None},
], ids=lambda change: next(iter(change)))  # fmt: skip
def test_evaluate_with_damaged_arrays(folder, parse, change):
    path = folder('evaluate')
    file = path / 'results' / 'Si' / 'arrays.hdf5'
    write_arrays(file, read_arrays(file) | change)
    _, process = parse(path, 'evaluate')
    assert process.exit_status == code('ERROR_OUTPUT_RESULTS_UNREADABLE', 'evaluate')
    assert next(iter(change)) in process.exit_message
