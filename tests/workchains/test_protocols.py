"""Protocols are frozen: a changed default is a changed golden file, on purpose."""

import pytest

from aiida_mlfc.workchains.phonon import PhononWorkChain
from aiida_mlfc.workchains.protocol import merged, protocol_inputs, read_protocols
from aiida_mlfc.workchains.screen import ScreenWorkChain


def plain(inputs, names):
    """A builder's inputs with nodes replaced by what they hold."""
    if hasattr(inputs, 'items') and not hasattr(inputs, 'uuid'):
        found = {key: plain(value, names) for key, value in inputs.items()}
        return {key: value for key, value in found.items() if value not in ({}, None)}
    if hasattr(inputs, 'get_dict'):
        return inputs.get_dict()
    return names.get(getattr(inputs, 'uuid', None), inputs)


@pytest.fixture
def nodes(mlfc_code, potential_node, make_structure, silicon):
    return mlfc_code, make_structure(silicon, 'Si'), potential_node


def names_of(nodes):
    return dict(zip([node.uuid for node in nodes], ['<code>', '<structure>', '<potential>'], strict=True))


@pytest.mark.parametrize('protocol', ['fast', 'balanced', 'stringent'])
def test_golden_builder(nodes, data_regression, protocol):
    builder = PhononWorkChain.get_builder_from_protocol(
        *nodes, protocol=protocol, options={'max_wallclock_seconds': 600, 'resources': {'num_machines': 1}}
    )
    data_regression.check(plain(builder._inputs(prune=True), names_of(nodes)))


def test_default_is_balanced(nodes):
    builders = [PhononWorkChain.get_builder_from_protocol(*nodes, protocol=p) for p in (None, 'balanced')]
    first, second = (plain(b._inputs(prune=True), names_of(nodes)) for b in builders)
    assert first == second


def test_overrides_relaxation_and_labels(nodes, mlfc_code):
    overrides = {'force_constants': {'parameters': {'supercell_matrix': [3, 3, 3]}}}
    builder = PhononWorkChain.get_builder_from_protocol(
        mlfc_code.full_label, {'a': nodes[1], 'b': nodes[1]}, nodes[2], overrides=overrides, relax=False
    )
    inputs = plain(builder._inputs(prune=True), names_of(nodes))
    assert set(inputs['structures']) == {'a', 'b'}
    job = inputs['steps']['mlfc']
    assert set(job['parameters']) == {'force_constants', 'phonons'}
    assert job['parameters']['force_constants']['supercell_matrix'] == [3, 3, 3]
    assert job['parameters']['force_constants']['method'] == 'autograd'
    assert job['code'] == '<code>'


def test_screen_takes_the_same(nodes):
    code, structure, potential = nodes
    phonon = PhononWorkChain.get_builder_from_protocol(code, {'a': structure}, potential, 'fast')
    screen = ScreenWorkChain.get_builder_from_protocol(code, {'a': structure}, potential, 'fast')
    screen.shard_size = 7
    inputs = plain(screen._inputs(prune=True), names_of(nodes))
    assert inputs.pop('shard_size') == 7
    inputs.pop('max_concurrent', None)
    assert inputs == plain(phonon._inputs(prune=True), names_of(nodes))


def test_unknown_protocol_and_override():
    with pytest.raises(ValueError, match="got 'sloppy', wanted one of fast, balanced, stringent"):
        protocol_inputs('phonon', 'sloppy')
    with pytest.raises(ValueError, match='overrides: got relaxx'):
        protocol_inputs('phonon', 'fast', {'relaxx': {}})


def test_one_job_has_one_device(nodes):
    on_gpu = {'parameters': {'device': 'cuda'}}
    with pytest.raises(ValueError, match='device: got cpu for relax and cuda for force_constants'):
        PhononWorkChain.get_builder_from_protocol(*nodes, overrides={'force_constants': on_gpu})
    builder = PhononWorkChain.get_builder_from_protocol(*nodes, overrides={'force_constants': on_gpu}, relax=False)
    assert builder.steps.mlfc.parameters['force_constants']['device'] == 'cuda'
    both = {'relax': on_gpu, 'force_constants': on_gpu}
    builder = PhononWorkChain.get_builder_from_protocol(*nodes, overrides=both)
    assert builder.steps.mlfc.parameters['relax']['device'] == 'cuda'


def test_options_of_protocols_are_options_of_the_tasks():
    from aiida_mlfc.runner.options import read_options

    for protocol in read_protocols('phonon')['protocols']:
        found = {step: content['parameters'] for step, content in protocol_inputs('phonon', protocol).items()}
        options = read_options('phonon_steps', found)
        assert options.relax.fmax == found['relax']['fmax']
        assert options.phonons.mesh_length == found['phonons']['mesh_length']


def test_merging_leaves_both_alone():
    base, over = {'a': {'x': 1, 'y': [1]}, 'b': 2}, {'a': {'x': 3}, 'c': {'z': 1}}
    result = merged(base, over)
    assert result == {'a': {'x': 3, 'y': [1]}, 'b': 2, 'c': {'z': 1}}
    result['a']['y'].append(2)
    result['c']['z'] = 2
    assert base == {'a': {'x': 1, 'y': [1]}, 'b': 2}
    assert over == {'a': {'x': 3}, 'c': {'z': 1}}
