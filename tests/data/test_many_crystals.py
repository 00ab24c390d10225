"""Checkpoints of a process with many inputs: what AiiDA writes, written once, and read back as it was."""

import pytest
from aiida.engine import ProcessState
from aiida.engine.persistence import get_object_loader
from aiida.engine.processes.calcjobs.tasks import Waiting
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.orm import Dict, Int
from aiida.orm.utils import serialize
from plumpy.persistence import Bundle, LoadSaveContext

from aiida_mlfc.calculations.evaluate import EvaluateCalculation
from aiida_mlfc.data import many_crystals


@pytest.fixture
def inputs(mlfc_code, potential_node, make_structure, silicon, rocksalt):
    structures = {'Si': make_structure(silicon, 'silicon'), 'NaCl': make_structure(rocksalt, 'halite')}
    return {'code': mlfc_code, 'structures': structures, 'potential': potential_node.store()}


def bundle_of(process):
    return Bundle(process, LoadSaveContext(loader=get_object_loader()))


def test_checkpoints(inputs, monkeypatch):
    runner = get_manager().get_runner()
    process = instantiate_process(runner, EvaluateCalculation, **inputs)
    try:
        first = bundle_of(process)
        # as after any commit; and whoever wrote them once does not look at them again
        Int(1).store()
        monkeypatch.setattr(many_crystals, 'nodes_in', None)
        second = bundle_of(process)
        wanted = {
            'INPUTS_RAW': serialize.serialize(process.raw_inputs),
            'INPUTS_PARSED': serialize.serialize(process.inputs),
        }
        for bundle in (first, second):
            assert {key: bundle[key] for key in wanted} == wanted
        monkeypatch.undo()
        loaded = second.unbundle(LoadSaveContext(runner=runner))
        assert loaded.node.uuid == process.node.uuid
        assert {key: node.uuid for key, node in loaded.inputs.structures.items()} == {
            key: node.uuid for key, node in inputs['structures'].items()
        }
        assert bundle_of(loaded)['INPUTS_PARSED'] == wanted['INPUTS_PARSED']
    finally:
        process.close()


def test_monitors_are_still_found(inputs):
    """Without asking the database for all inputs where there are none."""
    state = EvaluateCalculation.get_state_classes()[ProcessState.WAITING]
    assert issubclass(state, Waiting)
    runner = get_manager().get_runner()
    monitors = {'always': Dict({'entry_point': 'core.always_kill'})}
    for extra, count in (({}, None), ({'monitors': monitors}, 1)):
        process = instantiate_process(runner, EvaluateCalculation, **inputs, **extra)
        try:
            found = state(process, None).monitors
            assert (None if found is None else len(found.monitors)) == count
        finally:
            process.close()
