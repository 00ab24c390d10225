"""Work chains while things break: processes are killed, codes say success and leave nothing, relaxations do not end."""

import numpy as np
import pytest
from aiida.engine import run_get_node
from aiida.orm import CalcJobNode, Dict
from ase.build import bulk

from aiida_mlfc.runner.run import run_job  # noqa: F401 (imported once here, not in the first job that is timed)
from aiida_mlfc.workchains.phonon import PhononWorkChain
from aiida_mlfc.workchains.restart import ForceConstantsWorkChain, RelaxWorkChain

from ..runner.killing import Killer

CODES = ForceConstantsWorkChain.spec().exit_codes


def jobs_of(node):
    return sorted((n for n in node.called_descendants if isinstance(n, CalcJobNode)), key=lambda n: n.pk)


@pytest.fixture
def inputs(potential_node):
    def _inputs(code, structures, **parameters):
        return {
            'mlfc': {
                'code': code,
                'structures': structures,
                'potential': potential_node,
                'parameters': Dict(parameters or {'supercell_matrix': [2, 2, 2]}),
            }
        }

    return _inputs


@pytest.fixture
def make_program(aiida_code_installed, tmp_path):
    def _make(script: str):
        program = tmp_path / 'program'
        program.write_text(script)
        program.chmod(0o755)
        return aiida_code_installed(label=tmp_path.name, filepath_executable=str(program))

    return _make


@pytest.fixture
def crystals(make_structure):
    found = {f'Si{k}': bulk('Si', 'diamond', a=5.40 + 0.01 * k) for k in range(3)}
    found['poison'] = bulk('NaCl', 'rocksalt', a=5.64, cubic=True)
    return {key: make_structure(atoms, key) for key, atoms in found.items()}


def test_a_poisonous_structure_is_isolated(mlfc_code, aiida_localhost, crystals, inputs):
    """Killed with the first job; the second has a supervisor, which finds out and finishes everything else."""
    from pathlib import Path

    with Killer(Path(aiida_localhost.get_workdir()), ['poison']) as killer:
        outputs, node = run_get_node(ForceConstantsWorkChain, **inputs(mlfc_code, crystals))
    assert node.exit_status == CODES.ERROR_SOME_STRUCTURES_KILLED.status, node.exit_message
    first, second = jobs_of(node)
    assert (first.exit_status, second.exit_status) == (303, 412)
    assert first.outputs.output_attempts.get_dict() == {'poison': {'killed': 1, 'killed_in_company': 0, 'stopped': 0}}
    assert len(killer.kills) == 3
    assert set(outputs['output_force_constants']) == {'Si0', 'Si1', 'Si2'}
    row = outputs['output_parameters']['poison']
    assert row['error']['type'] == 'KilledError'
    assert '3 times when computed alone' in row['error']['message']
    assert 'poison' in second.exit_message
    done = first.outputs.output_parameters.get_dict()
    for key, row in done.items():
        assert outputs['output_parameters'][key]['seconds'] == row['seconds'], f'{key} was computed again'


@pytest.mark.parametrize(
    ('script', 'status'),
    [('#!/bin/sh\nexit 0\n', 302), ('#!/bin/sh\nmkdir results\ntouch results/x\nexit 0\n', 303)],
    ids=['nothing', 'nothing of ours'],
)
def test_success_without_output_is_none(make_program, crystals, inputs, script, status):
    """The scheduler is content; the parser is not, and the work chain ends after one more try."""
    code = make_program(script)
    _, node = run_get_node(ForceConstantsWorkChain, **inputs(code, crystals))
    assert node.exit_status == CODES.ERROR_NO_PROGRESS.status
    assert [job.exit_status for job in jobs_of(node)] == [status, status]
    assert 'left no results' in node.exit_message or '0 of 4 are' in node.exit_message


LOSES_A_FILE = """#!/bin/sh
{program} "$@"
code=$?
if [ ! -e {mark} ]; then touch {mark}; echo garbage > results/Si1/force_constants.hdf5; fi
exit $code
"""


def test_a_result_that_cannot_be_read_is_computed_once_more(mlfc_code, make_program, crystals, inputs, tmp_path):
    code = make_program(LOSES_A_FILE.format(program=mlfc_code.filepath_executable, mark=tmp_path / 'mark'))
    outputs, node = run_get_node(ForceConstantsWorkChain, **inputs(code, crystals))
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    first, second = jobs_of(node)
    assert first.exit_status == 304
    assert 'Si1' in first.exit_message
    assert set(first.outputs.output_force_constants) == set(crystals) - {'Si1'}
    assert set(outputs['output_force_constants']) == set(crystals)
    seconds = [
        {key: row['seconds'] for key, row in job.outputs.output_parameters.get_dict().items()}
        for job in (first, second)
    ]
    assert {key for key in crystals if seconds[0][key] != seconds[1][key]} == {'Si1'}


#: once mlfc-run has read its job, and before it has a result
STOP = """until grep -q 'done already' mlfc-run.err; do sleep 0.02; done
kill $!
wait $!
exit 0
"""


def test_stopped_from_outside_is_said_at_the_top(mlfc_code, make_program, crystals, potential_node):
    """A job that is stopped whenever it runs: the exit code of the whole says so."""
    code = make_program(f'#!/bin/sh\n{mlfc_code.filepath_executable} "$@" &\n{STOP}')
    builder = PhononWorkChain.get_builder_from_protocol(code, crystals, potential_node, 'fast', relax=False)
    _, node = run_get_node(builder)
    assert node.exit_status == PhononWorkChain.spec().exit_codes.ERROR_STOPPED.status, node.exit_message
    assert 'cancelled or stopped from outside' in node.exit_message
    assert {job.exit_status for job in jobs_of(node)} <= {302, 303, 307}


def test_what_failed_is_said_at_the_top(mlfc_code, make_structure, potential_node, silicon):
    structures = {'Si': make_structure(silicon), 'Fe': make_structure(bulk('Fe', 'bcc', a=2.87))}
    overrides = {
        'force_constants': {'parameters': {'supercell_matrix': [1, 1, 1]}},
        'phonons': {'parameters': {'mesh_length': 10.0, 'points_per_segment': 3}},
    }
    builder = PhononWorkChain.get_builder_from_protocol(
        mlfc_code, structures, potential_node, 'fast', overrides, relax=False, options={'workers': 1}
    )
    outputs, node = run_get_node(builder)
    assert node.exit_status == 411
    assert 'No phonons for Fe' in node.exit_message
    assert 'does not know Fe' in node.exit_message
    assert set(outputs['phonon_bands']) == {'Si'}
    stderr = jobs_of(node)[0].outputs.retrieved.base.repository.get_object_content('mlfc-run.err')
    assert '1 worker(s)' in stderr


def test_a_relaxation_that_does_not_converge_goes_on(mlfc_code, make_structure, inputs, silicon):
    """Wurtzite in one step: not enough; from where it stopped there are two, then four of another optimiser."""
    wurtzite = bulk('AlSi', 'wurtzite', a=3.5, c=5.7, u=0.38)
    rattled = wurtzite.copy()
    rattled.rattle(0.05, seed=1)
    structures = {'good': make_structure(wurtzite), 'never': make_structure(rattled), 'Si': make_structure(silicon)}
    parameters = {'steps': 1, 'fmax': 1e-3, 'optimizer': 'newton'}
    outputs, node = run_get_node(RelaxWorkChain, **inputs(mlfc_code, structures, **parameters))
    assert node.exit_status == 410
    jobs = jobs_of(node)
    assert len(jobs) == 3
    assert set(jobs[0].outputs.output_unconverged) == set(jobs[1].inputs.structures) == {'good', 'never'}
    assert set(jobs[0].outputs.output_structures) == {'Si'}
    assert jobs[1].inputs.structures.good.uuid == jobs[0].outputs.output_unconverged.good.uuid
    for job in jobs[1:]:
        assert job.inputs.origins.never.uuid == structures['never'].uuid
    assert [job.inputs.parameters['steps'] for job in jobs] == [1, 2, 4]
    assert [job.inputs.parameters['optimizer'] for job in jobs] == ['newton', 'newton', 'bfgs']
    rows = outputs['output_parameters'].get_dict()
    assert {key: (row['status'], row['n_rounds']) for key, row in rows.items()} == {
        'Si': ('ok', 1),
        'good': ('ok', 2),
        'never': ('failed', 3),
    }
    assert 'wanted 1e-03' in rows['never']['error']['message']
    assert set(outputs['output_structures']) == {'Si', 'good'}
    moved = outputs['output_structures']['good'].get_ase().positions - wurtzite.positions
    moved -= moved.mean(axis=0)
    assert rows['good']['max_displacement'] == pytest.approx(np.linalg.norm(moved, axis=1).max(), abs=1e-6)
