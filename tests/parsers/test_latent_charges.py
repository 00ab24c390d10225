"""Charges that a potential brings itself: on the node where nobody gave others, and refused where they do not fit."""

import json

import numpy as np

from aiida_mlfc.data.force_constants import phonon_inputs

from .conftest import code


def with_charges(path, born):
    file = path / 'results' / 'NaCl' / 'result.json'
    content = json.loads(file.read_text())
    content['data']['nac_params'] = {'born': born, 'dielectric': np.eye(3).tolist()}
    file.write_text(json.dumps(content))


def test_charges_of_the_potential_itself(folder, parse):
    """Where nobody gave Born charges; phonons find them on the node."""
    born = [(0.7 * np.eye(3)).tolist(), (-0.7 * np.eye(3)).tolist()]
    path = folder()
    with_charges(path, born)
    outputs, process = parse(path)
    assert process.exit_status == 0
    node = outputs['output_force_constants']['NaCl']
    np.testing.assert_array_equal(phonon_inputs(node)['nac_params']['born'], born)
    assert 'nac_params' not in phonon_inputs(outputs['output_force_constants']['Si'])


def test_charges_that_do_not_fit(folder, parse):
    path = folder()
    with_charges(path, [np.eye(3).tolist()] * 3)
    outputs, process = parse(path)
    assert process.exit_status == code('ERROR_OUTPUT_RESULTS_UNREADABLE')
    assert set(outputs['output_force_constants']) == {'Si'}
    assert 'Born charges' in process.exit_message
