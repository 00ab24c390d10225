"""``mlfc.train`` with a real ``mlfc-run``: provenance, walltime and restart, bad sets."""

import sys
from pathlib import Path

import numpy as np
import pytest
from aiida.engine import run_get_node
from aiida.orm import Dict
from aiida.plugins import CalculationFactory, WorkflowFactory

from aiida_mlfc.core.references.configurations import read_configurations
from aiida_mlfc.data.force_sets import force_set_input, force_set_node

from ..spring_sets import write_springs

OPTIONS = {
    'name': 'toy',
    'steps': 60,
    'model': {'channels': 4, 'n_heads': 2, 'n_layers': 1, 'cutoff': 3.2, 'radial_width': 8, 'n_radial': 4},
    'checkpoint_minutes': 0.0,
    'edges_per_step': 200,
}


@pytest.fixture
def force_set(aiida_profile, tmp_path):
    write_springs(tmp_path / 'springs')
    (reference,) = read_configurations([tmp_path / 'springs'])
    return force_set_node(reference).store()


@pytest.fixture
def stopping_code(aiida_code_installed, tmp_path):
    """``mlfc-run`` that gets the signal of a scheduler as soon as there is a state."""
    script = tmp_path / 'stopping'
    script.write_text(
        f"""#!/bin/bash
{Path(sys.executable).with_name('mlfc-run')} "$@" &
job=$!
for i in $(seq 1200); do [ -f training/training_state.pt ] && break; sleep 0.05; done
kill -TERM $job
wait $job
"""
    )
    script.chmod(0o755)
    return aiida_code_installed(label='stopping', filepath_executable=str(script))


def test_node_holds_what_the_files_hold(aiida_profile, tmp_path):
    write_springs(tmp_path / 'springs')
    (reference,) = read_configurations([tmp_path / 'springs'])
    found = force_set_input(force_set_node(reference).store())
    np.testing.assert_allclose(found['displacements'], reference.sets.displacements, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found['forces'], reference.sets.forces, rtol=0, atol=1e-12)
    supercell = reference.force_constants.to_phonopy().supercell
    np.testing.assert_allclose(found['supercell']['positions'], supercell.positions, rtol=0, atol=1e-9)
    assert '"functional": "springs"' in found['source']


def test_stopped_and_continued(force_set, mlfc_code, stopping_code):
    """A job whose state stops half-way, as at the end of a walltime; the next one ends with the same weights."""
    train = CalculationFactory('mlfc.train')
    inputs = {'code': mlfc_code, 'force_sets': {'springs': force_set}, 'parameters': Dict(OPTIONS)}
    whole, node = run_get_node(train, **inputs)
    assert node.is_finished_ok, node.exit_message
    assert whole['output_potential'].card['training data'][0]['name'] == 'springs'
    linked = node.base.links.get_incoming(node_class=type(force_set)).all_nodes()
    assert [item.uuid for item in linked] == [force_set.uuid]
    assert whole['output_potential'].creator.uuid == node.uuid
    stopped, node = run_get_node(train, **{**inputs, 'code': stopping_code})
    assert node.exit_status == train.spec().exit_codes.ERROR_TRAINING_INTERRUPTED.status, node.exit_message
    assert 0 < stopped['output_parameters']['training']['step'] < 60
    continued, node = run_get_node(train, **inputs, parent_folder=stopped['remote_folder'])
    assert node.is_finished_ok, node.exit_message
    rows = [result['output_parameters']['springs'] for result in (whole, continued)]
    for key in ('relative_frobenius_percent', 'frequency_mae_THz', 'force_rmse_meV_per_A'):
        assert rows[0][key] == pytest.approx(rows[1][key], rel=1e-6)


def test_work_chain_names_the_bad_one(force_set, mlfc_code, tmp_path):
    write_springs(tmp_path / 'bad')
    (reference,) = read_configurations([tmp_path / 'bad'])
    reference.sets.forces[2, 1, 0] = np.nan
    inputs = {'code': mlfc_code, 'force_sets': {'good': force_set, 'bad': force_set_node(reference)}}
    outputs, node = run_get_node(
        WorkflowFactory('mlfc.train'), mlfc={**inputs, 'parameters': Dict({**OPTIONS, 'steps': 3})}
    )
    assert node.exit_status == 410, node.exit_message
    rows = outputs['output_parameters'].get_dict()
    assert 'not a finite number' in rows['bad']['error']['message']
    assert list(outputs['output_potential'].card['references left out']) == ['bad']


def test_what_cannot_be_learned_at_all(force_set, mlfc_code):
    outputs, node = run_get_node(
        CalculationFactory('mlfc.train'),
        code=mlfc_code,
        force_sets={'springs': force_set},
        parameters=Dict({**OPTIONS, 'recipe': {'no_such': 1}}),
    )
    assert node.exit_status == 411
    assert 'no_such' in node.exit_message
    assert 'output_potential' not in outputs
