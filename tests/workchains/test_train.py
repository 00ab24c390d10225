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
    'model': {'channels': 4, 'n_heads': 2, 'n_layers': 1, 'cutoff': 3.2, 'radial_width': 8, 'n_radial': 4,
              'triplet_cutoff': 5.0, 'triplet_spacing': 0.7},
    'checkpoint_minutes': 0.0,
    'edges_per_step': 200,
    'uncertainty_members': 0,
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


def test_work_chain_continues_after_the_walltime(force_set, mlfc_code, stopping_once):
    """The first job is ended as by a scheduler; the second begins where it stopped: the same weights as in one go."""
    parameters = Dict({**OPTIONS, 'stage_two': True, 'start_stage_two': 0.5, 'valid_fraction': 0.34})
    inputs = {'force_sets': {'springs': force_set}, 'parameters': parameters}
    chain = WorkflowFactory('mlfc.train')
    outputs, node = run_get_node(chain, mlfc={**inputs, 'code': stopping_once})
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    jobs = sorted(node.called, key=lambda job: job.pk)
    interrupted = CalculationFactory('mlfc.train').spec().exit_codes.ERROR_TRAINING_INTERRUPTED.status
    assert [job.exit_status for job in jobs] == [interrupted, 0]
    assert jobs[1].inputs.parent_folder.uuid == jobs[0].outputs.remote_folder.uuid
    stopped_at = jobs[0].outputs.output_parameters['training']['step']
    assert 0 < stopped_at < 60
    begun = jobs[1].outputs.retrieved.base.repository.get_object_content('mlfc-run.err')
    first_line = next(line for line in begun.splitlines() if 'parameters, step' in line)
    assert int(first_line.partition('step ')[2].split()[0]) >= stopped_at
    whole, _ = run_get_node(CalculationFactory('mlfc.train'), **inputs, code=mlfc_code)
    found, expected = (weights_of(node) for node in (outputs['output_potential'], whole['output_potential']))
    assert found.keys() == expected.keys()
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=0, atol=1e-6)


def weights_of(node):
    from safetensors.numpy import load

    return load(node.base.repository.get_object_content(node.filename, mode='rb'))


@pytest.fixture
def stopping_once(aiida_code_installed, tmp_path):
    """``mlfc-run`` whose first job gets the signal of a scheduler at the end of its walltime."""
    script, mark = tmp_path / 'once', tmp_path / 'was-stopped'
    script.write_text(
        f"""#!/bin/bash
{Path(sys.executable).with_name('mlfc-run')} "$@" &
job=$!
if [ ! -f {mark} ]; then
  touch {mark}
  for i in $(seq 1200); do [ -f training/training_state.pt ] && break; sleep 0.05; done
  kill -TERM $job
fi
wait $job
"""
    )
    script.chmod(0o755)
    return aiida_code_installed(label='stopping-once', filepath_executable=str(script))


def test_fine_tuning_as_a_calculation(force_set, mlfc_code):
    """The potential to start from is an input: provenance says what became of it."""
    from aiida_mlfc.data.potential import PotentialData

    from ..core.potentials.mattersim.reference_values import TINY

    start = PotentialData.get_or_create(TINY)
    options = Dict({'name': 'tuned', 'steps': 3, 'lr': 1e-4, 'edges_per_step': 200, 'uncertainty_members': 0})
    outputs, node = run_get_node(
        CalculationFactory('mlfc.train'),
        code=mlfc_code,
        force_sets={'springs': force_set},
        parameters=options,
        foundation_model=start,
    )
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    tuned = outputs['output_potential']
    assert (tuned.architecture, tuned.name, tuned.filename) == ('mattersim', 'tuned', 'trained.pth')
    assert tuned.card['foundation model'] == {'name': 'tiny-random', 'sha256': start.sha256}
    assert node.inputs.foundation_model.uuid == start.uuid


def test_settings_are_checked_before_anything_is_submitted(force_set, mlfc_code):
    builder = CalculationFactory('mlfc.train').get_builder()
    with pytest.raises(ValueError, match='nothing to validate on'):
        builder.parameters = Dict({'patience': 3})
    with pytest.raises(ValueError, match='wanted keys of name, seed'):
        WorkflowFactory('mlfc.train').get_builder().mlfc.parameters = Dict({'learning_rat': 0.1})


def test_a_potential_to_start_from_is_a_node(aiida_profile, mlfc_code, make_structure, silicon):
    """By name it would be in no provenance, and the job would train the wrong architecture to its end."""
    from aiida_mlfc.workchains.active_learning import ActiveLearningWorkChain

    by_name = {'foundation_model': 'mattersim-v1.0.0-1m'}
    with pytest.raises(ValueError, match='wanted a PotentialData as the input'):
        CalculationFactory('mlfc.train').get_builder().parameters = Dict(by_name)
    with pytest.raises(ValueError, match='wanted a PotentialData as the input'):
        ActiveLearningWorkChain.get_builder_from_protocol(
            mlfc_code, {'si': make_structure(silicon)}, relax=False, training=by_name
        )
    # as a configuration file of defaults says it
    CalculationFactory('mlfc.train').get_builder().parameters = Dict({'foundation_model': None})
