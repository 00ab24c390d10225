"""Results of all steps in one folder, whole, failed and damaged."""

import json
import shutil

import numpy as np
import pytest

from aiida_mlfc.data.phonons import OUTPUTS
from aiida_mlfc.exchange.arrays import read_array, read_arrays, write_arrays
from aiida_mlfc.exchange.names import ARRAYS_FILE, FORCE_CONSTANTS_FILE, RELAXED_FILE, UNIT_CELL_FILE

from .conftest import code

TASK = 'phonon_steps'
ALL = ('output_structures', 'output_force_constants', *OUTPUTS)


def test_all_outputs(folder, parse):
    path = folder(TASK)
    outputs, process = parse(path, TASK)
    assert process.exit_status == 0, process.exit_message
    for name in ALL:
        assert set(outputs[name]) == {'Si', 'NaCl'}
        assert {node.label for node in outputs[name].values()} == {'Si', 'NaCl'}
    assert 'output_unconverged' not in outputs
    result = path / 'results' / 'Si'
    np.testing.assert_array_equal(
        outputs['output_force_constants']['Si'].get_array('force_constants'),
        read_array(result / FORCE_CONSTANTS_FILE, 'force_constants'),
    )
    bands = read_arrays(result / ARRAYS_FILE)['bands']
    np.testing.assert_array_equal(outputs['phonon_bands']['Si'].get_bands(), bands['frequencies'])
    row = outputs['output_parameters'].get_dict()['NaCl']
    assert row['status'] == 'ok'
    assert row['relax']['spacegroup_after'] == 'Fm-3m (225)'
    assert row['force_constants']['quality']['method'] == 'autograd'
    assert row['phonons']['min_frequency'] == pytest.approx(outputs['stability']['NaCl']['min_frequency'])


def fail(result, step, error='ValueError'):
    """As ``mlfc-run`` writes a failure."""
    content = json.loads((result / 'result.json').read_text())
    done = {'relax': (), 'force_constants': ('relax',), 'phonons': ('relax', 'force_constants')}[step]
    content |= {
        'status': 'failed',
        'error': {'type': error, 'message': 'it broke', 'traceback': '', 'step': step},
        'data': {name: content['data'][name] for name in done},
    }
    (result / 'result.json').write_text(json.dumps(content))
    for name in (FORCE_CONSTANTS_FILE, ARRAYS_FILE, UNIT_CELL_FILE):
        (result / name).unlink()


def test_failed_after_its_relaxation(folder, parse):
    path = folder(TASK)
    fail(path / 'results' / 'Si', 'force_constants')
    outputs, process = parse(path, TASK)
    assert process.exit_status == code('ERROR_SOME_STRUCTURES_FAILED', TASK)
    assert set(outputs['output_structures']) == {'Si', 'NaCl'}
    assert set(outputs['output_force_constants']) == set(outputs['stability']) == {'NaCl'}
    row = outputs['output_parameters'].get_dict()['Si']
    assert row['error'] == {'type': 'ValueError', 'message': 'it broke', 'step': 'force_constants'}
    assert 'energy' in row['relax']
    assert 'force_constants' not in row


def test_did_not_converge(folder, parse):
    path = folder(TASK)
    result = path / 'results' / 'Si'
    fail(result, 'relax', 'NotConvergedError')
    shutil.move(result / RELAXED_FILE, result / ARRAYS_FILE)
    outputs, process = parse(path, TASK)
    assert process.exit_status == code('ERROR_SOME_STRUCTURES_FAILED', TASK)
    assert set(outputs['output_unconverged']) == {'Si'}
    assert set(outputs['output_structures']) == {'NaCl'}


def other_atoms(result):
    content = read_arrays(result / RELAXED_FILE)
    content['structure']['numbers'] = np.array([14, 13])
    write_arrays(result / RELAXED_FILE, content)


@pytest.mark.parametrize(
    'damage',
    [
        other_atoms,
        lambda result: (result / RELAXED_FILE).unlink(),
        lambda result: (result / UNIT_CELL_FILE).unlink(),
        lambda result: (result / FORCE_CONSTANTS_FILE).write_bytes(b'garbage'),
        lambda result: (result / ARRAYS_FILE).write_bytes((result / ARRAYS_FILE).read_bytes()[:1000]),
    ],
    ids=['other atoms', 'no relaxed structure', 'no unit cell', 'no force constants', 'half of the phonons'],
)
def test_nothing_of_a_damaged_result_is_attached(folder, parse, damage):
    path = folder(TASK)
    damage(path / 'results' / 'Si')
    outputs, process = parse(path, TASK)
    assert process.exit_status == code('ERROR_OUTPUT_RESULTS_UNREADABLE', TASK)
    for name in ALL:
        assert set(outputs[name]) == {'NaCl'}, name
