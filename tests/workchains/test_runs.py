"""Work chains run for real, by ``mlfc-run`` in a process of its own, with the tiny potential."""

import numpy as np
import pytest
from aiida.common.links import LinkType
from aiida.engine import run_get_node
from aiida.manage.caching import enable_caching
from aiida.orm import CalcJobNode, Dict
from ase.build import bulk

from aiida_mlfc.data.costs import structure_costs
from aiida_mlfc.data.kept_rows import EXTRA_ROWS, kept
from aiida_mlfc.data.outcomes import ScreenOutcome, rows_of
from aiida_mlfc.data.phonons import OUTPUTS
from aiida_mlfc.data.screens import measured_pace
from aiida_mlfc.runner.force_constants import compute_force_constants
from aiida_mlfc.workchains.phonon import PhononWorkChain
from aiida_mlfc.workchains.restart import ForceConstantsWorkChain
from aiida_mlfc.workchains.screen import ScreenWorkChain

OVERRIDES = {
    'force_constants': {'parameters': {'supercell_matrix': [2, 2, 2]}},
    'phonons': {'parameters': {'mesh_length': 12.0, 'points_per_segment': 5}},
}


def jobs_of(node):
    return sorted((n for n in node.called_descendants if isinstance(n, CalcJobNode)), key=lambda n: n.pk)


@pytest.fixture
def force_constants_inputs(potential_node):
    def _inputs(code, structures):
        return {
            'mlfc': {
                'code': code,
                'structures': structures,
                'potential': potential_node,
                'parameters': Dict({'supercell_matrix': [3, 3, 3]}),
            }
        }

    return _inputs


def test_two_crystals_from_structure_to_stability(
    mlfc_code, potential_node, make_structure, silicon, rocksalt, tiny_checkpoint
):
    structures = {'Si': make_structure(silicon, 'silicon'), 'NaCl': make_structure(rocksalt, 'halite')}
    builder = PhononWorkChain.get_builder_from_protocol(mlfc_code, structures, potential_node, 'fast', OVERRIDES)
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    assert [job.process_label for job in jobs_of(node)] == ['PhononStepsCalculation']
    assert set(outputs) == {'output_structures', 'output_force_constants', *OUTPUTS}
    for name in outputs:
        assert set(outputs[name]) == {'Si', 'NaCl'}
    direct = compute_force_constants(silicon, [2, 2, 2], str(tiny_checkpoint)).to_phonopy()
    bands = outputs['phonon_bands']['Si']
    wanted = direct.run_qpoints(bands.get_kpoints()).frequencies
    np.testing.assert_allclose(bands.get_bands(), wanted, atol=2e-4)

    outcome = ScreenOutcome(node)
    row = outcome.row('NaCl')
    assert row['status'] == 'ok'
    assert row['name'] == 'halite'
    assert row['potential_sha256'] == potential_node.sha256
    assert row['force_constants_uuid'] == outputs['output_force_constants']['NaCl'].uuid
    assert row['min_frequency'] == pytest.approx(outputs['stability']['NaCl']['min_frequency'])
    assert outcome.is_done('NaCl')
    way = outcome.provenance('NaCl')
    assert structures['NaCl'].uuid in way['structure']
    assert potential_node.sha256 in way['potential']
    # From any frequency back to the structure and the checkpoint, by links alone
    ancestors = {n.uuid for n in _ancestors(outputs['phonon_bands']['NaCl'])}
    assert {structures['NaCl'].uuid, potential_node.uuid} <= ancestors


def _ancestors(node):
    from aiida.orm import Node, QueryBuilder

    query = QueryBuilder().append(Node, filters={'uuid': node.uuid}, tag='here').append(Node, with_descendants='here')
    return query.all(flat=True)


def test_one_that_fails_does_not_take_the_other_along(mlfc_code, potential_node, make_structure, silicon):
    structures = {'Fe': make_structure(bulk('Fe', 'bcc', a=2.87), 'iron'), 'Si': make_structure(silicon, 'silicon')}
    builder = ScreenWorkChain.get_builder_from_protocol(
        mlfc_code, structures, potential_node, 'fast', OVERRIDES, relax=False
    )
    outputs, node = run_get_node(builder)
    assert node.exit_status == ScreenWorkChain.spec().exit_codes.ERROR_SOME_CRYSTALS_FAILED.status
    assert '1 of 2' in node.exit_message
    assert set(outputs['phonon_bands']) == {'Si'}
    assert 'output_structures' not in outputs
    outcome = ScreenOutcome(node)
    assert outcome.is_done('Fe')
    row = outcome.row('Fe')
    assert row['status'] == 'failed'
    assert 'does not know Fe' in row['error']
    assert outcome.row('Si')['status'] == 'ok'
    # Kept rows are those that the nodes give, and nobody else's: by the screen as it ends, or by whoever asks first.
    rows = {key: outcome.row(key) for key in structures}
    assert kept([node.pk]) == {node.pk: rows}
    node.base.extras.delete(EXTRA_ROWS)
    for _ in range(2):
        assert {key: found for found, _, key in rows_of(ScreenOutcome.of([node]))} == rows
        assert kept([node.pk]) == {node.pk: rows}
    node.base.extras.set(EXTRA_ROWS, '{"writer": "another release", "rows": {}}')
    assert kept([node.pk]) == {}


def test_every_round_of_shards_is_handed_on(mlfc_code, potential_node, make_structure, silicon, rocksalt):
    """Two shards one after the other: the second adds to the outputs of the first, and the pace is learned."""
    structures = {'Si': make_structure(silicon, 'silicon'), 'NaCl': make_structure(rocksalt, 'halite')}
    builder = ScreenWorkChain.get_builder_from_protocol(
        mlfc_code, structures, potential_node, 'fast', OVERRIDES, relax=False
    )
    builder.shard_size, builder.max_concurrent, builder.settings = 1, 1, 'some settings'
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    for name in ('output_force_constants', *OUTPUTS):
        assert set(outputs[name]) == {'Si', 'NaCl'}
        assert set(node.outputs[name]) == {'Si', 'NaCl'}
    labels = sorted(link.link_label for link in node.base.links.get_outgoing(link_type=LinkType.CALL_WORK).all())
    assert labels == ['shard_0000', 'shard_0001']
    assert node.base.extras.get('mlfc_settings') == 'some settings'
    outcome = ScreenOutcome(node)
    seconds = sum(outcome.row(key)['seconds'] for key in structures)
    costs = structure_costs(structures, potential_node.cutoff, {'supercell_matrix': [2, 2, 2]})
    assert node.base.extras.get('mlfc_seconds_per_cost') == pytest.approx(seconds / sum(costs.values()))
    assert measured_pace('some settings') == node.base.extras.get('mlfc_seconds_per_cost')
    assert measured_pace('other settings') is None


def test_a_screen_is_found_from_the_moment_it_is_stored(mlfc_code, potential_node, make_structure, silicon):
    """By its settings, before a daemon has taken it up: the same command must not submit it a second time."""
    from aiida.engine.utils import instantiate_process
    from aiida.manage import get_manager

    structures = {'Si': make_structure(silicon, 'silicon')}
    builder = ScreenWorkChain.get_builder_from_protocol(mlfc_code, structures, potential_node, 'fast', OVERRIDES)
    builder.settings = 'those of a screen that was just stored'
    node = instantiate_process(get_manager().get_runner(), builder).node
    assert node.is_stored
    assert node.base.extras.get('mlfc_settings') == builder.settings
    assert node.process_state.value == 'created'


FLAKY = """#!/bin/sh
if [ -e {mark} ]; then exec {program} "$@"; fi
touch {mark}
{program} "$@" &
pid=$!
while [ -z "$(ls results 2>/dev/null)" ]; do sleep 0.02; done
kill -9 $pid
"""


def test_interrupted_job_is_continued_not_repeated(
    mlfc_code, aiida_code_installed, make_structure, force_constants_inputs, tmp_path
):
    """A job whose node dies after the first result: the next starts from there and does the rest."""
    program = tmp_path / 'flaky'
    program.write_text(FLAKY.format(mark=tmp_path / 'mark', program=mlfc_code.filepath_executable))
    program.chmod(0o755)
    code = aiida_code_installed(label='flaky', filepath_executable=str(program))
    structures = {f'Si{k}': make_structure(bulk('Si', 'diamond', a=5.4 + 0.01 * k)) for k in range(4)}
    outputs, node = run_get_node(ForceConstantsWorkChain, **force_constants_inputs(code, structures))
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    first, second = jobs_of(node)
    done = set(first.outputs.output_parameters.get_dict())
    assert first.exit_status == 303
    assert 1 <= len(done) < 4
    assert second.inputs.parent_folder.uuid == first.outputs.remote_folder.uuid
    stderr = second.outputs.retrieved.base.repository.get_object_content('mlfc-run.err')
    assert f'4 structures, {len(done)} done already' in stderr
    assert set(outputs['output_force_constants']) == set(structures)
    rows = second.outputs.output_parameters.get_dict()
    for key in done:
        assert rows[key]['seconds'] == first.outputs.output_parameters[key]['seconds']


def test_no_progress_is_an_end(aiida_code_installed, make_structure, silicon, force_constants_inputs, tmp_path):
    """A program that leaves nothing is tried twice, not for ever."""
    program = tmp_path / 'nothing'
    program.write_text('#!/bin/sh\nexit 1\n')
    program.chmod(0o755)
    code = aiida_code_installed(label='nothing', filepath_executable=str(program))
    _, node = run_get_node(ForceConstantsWorkChain, **force_constants_inputs(code, {'Si': make_structure(silicon)}))
    assert node.exit_status == ForceConstantsWorkChain.spec().exit_codes.ERROR_NO_PROGRESS.status
    assert len(jobs_of(node)) == 2


def test_second_identical_run_is_cached(mlfc_code, make_structure, rocksalt, force_constants_inputs):
    inputs = force_constants_inputs(mlfc_code, {'NaCl': make_structure(rocksalt)})
    with enable_caching(identifier='aiida.calculations:mlfc.force_constants'):
        first, first_node = run_get_node(ForceConstantsWorkChain, **inputs)
        second, second_node = run_get_node(ForceConstantsWorkChain, **inputs)
    assert first_node.is_finished_ok
    assert second_node.is_finished_ok
    (job,), (cached,) = jobs_of(first_node), jobs_of(second_node)
    assert cached.base.caching.get_cache_source() == job.uuid
    np.testing.assert_array_equal(
        second['output_force_constants']['NaCl'].get_array('force_constants'),
        first['output_force_constants']['NaCl'].get_array('force_constants'),
    )


def test_phonons_of_the_same_crystals_are_cached(mlfc_code, potential_node, make_structure, silicon):
    """Whatever the number of processes that compute them, and for another work chain."""
    structures = {'Si': make_structure(silicon, 'silicon')}
    made = []
    with enable_caching(identifier='aiida.calculations:mlfc.phonon_steps'):
        for workers in (None, 1):
            options = {} if workers is None else {'workers': workers}
            builder = PhononWorkChain.get_builder_from_protocol(
                mlfc_code, structures, potential_node, 'fast', OVERRIDES, options
            )
            outputs, node = run_get_node(builder)
            assert node.is_finished_ok, (node.exit_status, node.exit_message)
            made.append((jobs_of(node)[0], outputs['stability']['Si']))
    assert made[1][0].base.caching.get_cache_source() == made[0][0].uuid
    assert made[1][1].get_dict() == made[0][1].get_dict()
