"""Imaginary modes smaller than their errors: computed once more, tighter, and both results stay in provenance."""

import pytest
from aiida.engine import run_get_node
from aiida.orm import WorkChainNode

from aiida_mlfc.calculations.doubtful import NOISE_MARGIN, doubt
from aiida_mlfc.data.facts import facts_of
from aiida_mlfc.data.outcomes import ScreenOutcome, rows_of
from aiida_mlfc.runner.force_constants import compute_force_constants
from aiida_mlfc.workchains.phonon import PhononWorkChain
from aiida_mlfc.workchains.screen import ScreenWorkChain
from aiida_mlfc.workchains.second_look import larger_supercell, tighter_relaxation


@pytest.mark.parametrize(
    ('lowest', 'noise', 'truncation', 'is_doubtful'),
    [
        (0.0, 1e-3, 0.1, False),
        (0.5, 1e-3, 0.1, False),
        (-0.05, 1e-3, 0.1, True),
        (-0.05, 1e-3, None, False),
        (-NOISE_MARGIN * 1e-3, 1e-3, 0.0, True),
        (-NOISE_MARGIN * 1.1e-3, 1e-3, 0.0, False),
        (-2.0, 1e-3, 0.1, False),
    ],
)
def test_what_is_doubtful(lowest, noise, truncation, is_doubtful):
    found = doubt({'min_frequency': lowest, 'noise_floor': noise}, {'truncation_error': truncation})
    assert (found is not None) is is_doubtful
    if found:
        assert found['min_frequency'] == lowest
        assert -found['margin'] <= lowest


def test_tighter():
    assert tighter_relaxation({'fmax': 1e-5, 'device': 'cuda'}) == {
        'fmax': pytest.approx(1e-6),
        'smax': pytest.approx(1e-4),
        'steps': 1000,
        'device': 'cuda',
    }
    given = {'supercell_matrix': [2, 2, 2], 'max_atoms': 100}
    assert larger_supercell(given, True)['supercell_matrix'] == 'auto'
    assert larger_supercell(given, False)['supercell_matrix'] == [3, 3, 3]
    assert larger_supercell({'supercell_length': 10.0}, False)['supercell_length'] == pytest.approx(14.0)
    assert larger_supercell(given, True)['max_atoms'] == 200


def test_a_doubtful_crystal_is_looked_at_again(
    mlfc_code, potential_node, make_structure, silicon, rocksalt, tiny_checkpoint
):
    """Silicon with random weights in its unit cell: -2.7 THz, and a truncation error of 3.2; NaCl has no such mode."""
    overrides = {
        'force_constants': {'parameters': {'supercell_matrix': [1, 1, 1], 'max_atoms': 20, 'tolerance': 1e-3}},
        'phonons': {'parameters': {'mesh_length': 12.0, 'points_per_segment': 3}},
    }
    structures = {'Si': make_structure(silicon), 'NaCl': make_structure(rocksalt)}
    quality = compute_force_constants(
        silicon, [1, 1, 1], str(tiny_checkpoint), symprec=1e-4, truncation_qpoints=2
    ).quality
    builder = PhononWorkChain.get_builder_from_protocol(
        mlfc_code, structures, potential_node, 'fast', overrides, relax=False
    )
    builder.look_again = True
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    doubts = outputs['output_doubts']
    assert set(doubts) == {'Si'}
    (second,) = [
        child for child in node.called if isinstance(child, WorkChainNode) and child.process_label == 'PhononWorkChain'
    ]
    assert set(second.inputs.structures) == set(doubts)
    for key, reason in doubts.items():
        assert reason['margin'] == pytest.approx(quality.truncation_error, rel=1e-3)
        assert -reason['margin'] <= reason['min_frequency'] < 0
        force_constants = outputs['output_force_constants'][key]
        assert force_constants.uuid == second.outputs.output_force_constants[key].uuid
        assert force_constants.base.attributes.get('quality')['supercell_search']
        assert outputs['stability'][key].uuid == second.outputs.stability[key].uuid
    # the first result is there, too
    first = [child for child in node.called if child.process_label == 'PhononStepsWorkChain']
    assert set(first[0].outputs.stability) == {'Si', 'NaCl'}
    assert 'output_doubts' not in second.outputs
    # and what it took counts
    seconds = {
        key: [step['seconds'] for step in steps] for key, steps in facts_of([node.pk])[node.pk].parameters.items()
    }
    assert {key: len(found) for key, found in seconds.items()} == {'Si': 2, 'NaCl': 1}
    assert ScreenOutcome(node).row('Si')['seconds'] == pytest.approx(sum(seconds['Si']))


def test_a_screen_looks_again(mlfc_code, potential_node, make_structure, silicon, rocksalt):
    overrides = {
        'force_constants': {'parameters': {'supercell_matrix': [1, 1, 1], 'max_atoms': 20, 'tolerance': 1e-3}},
        'phonons': {'parameters': {'mesh_length': 12.0, 'points_per_segment': 3}},
    }
    structures = {'Si': make_structure(silicon), 'NaCl': make_structure(rocksalt)}
    builder = ScreenWorkChain.get_builder_from_protocol(
        mlfc_code, structures, potential_node, 'fast', overrides, relax=False
    )
    builder.look_again, builder.shard_size = True, 1
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    assert set(outputs['stability']) == {'Si', 'NaCl'}
    found = facts_of([node.pk])[node.pk].parameters
    assert {key: len(steps) for key, steps in found.items()} == {'Si': 2, 'NaCl': 1}
    rows = {key: row for row, _, key in rows_of(ScreenOutcome.of([node]))}
    assert rows['NaCl']['supercell_matrix'] == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert rows['Si']['supercell_matrix'] != rows['NaCl']['supercell_matrix']
