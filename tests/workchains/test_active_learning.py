"""The loop closes: a potential that knows copper learns silver and gold from an analytic engine, and stops."""

import pytest
from aiida.common.links import LinkType
from aiida.engine import run_get_node
from aiida.orm import Dict, Float
from ase.build import bulk, make_supercell

from aiida_mlfc.workchains.active_learning import ActiveLearningWorkChain, validate_settings
from aiida_mlfc.workchains.ase_reference import AseReferenceWorkChain

#: lattice constants at which EMT has no stress
COPPER, SILVER = 3.59, 4.06
EMT = {'module': 'ase.calculators.emt', 'name': 'EMT', 'arguments': {}}
OVERRIDES = {
    'force_constants': {'parameters': {'supercell_matrix': [2, 2, 2], 'truncation_qpoints': 0}},
    'phonons': {'parameters': {'mesh_length': 12.0, 'points_per_segment': 3}},
}
TRAINING = {
    'name': 'toy', 'steps': 12, 'edges_per_step': 300, 'uncertainty_members': 2,
    'model': {'channels': 4, 'n_heads': 2, 'n_layers': 1, 'cutoff': 4.5, 'radial_width': 8, 'n_radial': 4},
}  # fmt: skip


@pytest.fixture
def copper_forces(make_structure):
    """What the first training begins with."""
    builder = AseReferenceWorkChain.get_builder_from_protocol(
        make_structure(bulk('Cu', 'fcc', a=COPPER), 'copper'), EMT, overrides={'supercell_matrix': [2, 2, 2]}
    )
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    return outputs['phonopy_data']


@pytest.fixture
def loop(mlfc_code, make_structure, copper_forces):
    def _builder(structures, **settings):
        nodes = {key: make_structure(atoms, key) for key, atoms in structures.items()}
        builder = ActiveLearningWorkChain.get_builder_from_protocol(
            mlfc_code, nodes, None, 'fast', OVERRIDES, relax=False, training=TRAINING
        )
        builder.force_sets = {'copper': copper_forces}
        builder.ase_reference.calculator = Dict(EMT)
        builder.supercell_length = Float(5.0)
        builder.settings = Dict(settings)
        return builder

    return _builder


def test_loop_closes(loop):
    """Silver is unknown, so asked for; then it is known, nothing is open, and the loop ends by itself."""
    copper, silver = bulk('Cu', 'fcc', a=COPPER), bulk('Ag', 'fcc', a=SILVER)
    crystals = {'cu': copper, 'ag': silver, 'ag_again': make_supercell(silver, [[2, 0, 0], [0, 1, 0], [0, 0, 1]])}
    # a potential of a second's training is unsure of copper, too: that is not what is looked at here
    outputs, node = run_get_node(loop(crystals, uncertainty=50.0, unstable_below=-50.0))
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    summary = outputs['summary'].get_dict()
    assert summary['stopped'] == 'converged'
    first, second = summary['rounds']
    # the same crystal in another cell was never screened
    assert set(first['crystals']) == {'cu', 'ag'}
    assert list(first['asked']) == ['ag']
    assert 'Ag' in first['asked']['ag']
    assert second['open'] == {}
    for key in ('cu', 'ag'):
        assert second['crystals'][key]['status'] == 'ok'
        assert second['crystals'][key]['uncertainty'] > 0
    assert first['crystals']['cu']['uncertainty'] > 0
    assert first['crystals']['ag']['uncertainty'] is None
    assert sorted(outputs['potential'].species) == [29, 47]
    # one displacement each: nothing can be held back, and the card says what the uncertainty is worth then
    assert outputs['potential'].card['uncertainty']['calibrated on'].startswith('what was learned, a lower bound')
    assert sorted(entry['formula'] for entry in outputs['potential'].card['training data']) == ['Ag', 'Cu']
    # the way back: from the potential to the forces that were asked for
    training = outputs['potential'].creator
    assert outputs['force_sets']['asked_ag'].uuid in {n.uuid for n in training.base.links.get_incoming().all_nodes()}
    called = sorted(node.base.links.get_outgoing(link_type=LinkType.CALL_WORK).all(), key=lambda link: link.node.pk)
    assert [link.link_label for link in called] == [
        'train_00', 'screen_00', 'reference_ag', 'train_01', 'screen_01',
    ]  # fmt: skip


def test_settings_and_inputs_that_cannot_be(loop, aiida_profile):
    assert 'per_round: got 0' in validate_settings(Dict({'per_round': 0}), None)
    assert 'wanted uncertainty, unstable_below' in validate_settings(Dict({'budget': 3}), None)
    assert validate_settings(Dict({}), None) is None
    validate = ActiveLearningWorkChain._validate
    assert 'got no force engine' in validate({}, None)
    assert 'neither a potential nor force sets' in validate({'ase_reference': {}}, None)
    assert 'begins with asked_' in validate({'ase_reference': {}, 'force_sets': {'asked_x': None}}, None)
