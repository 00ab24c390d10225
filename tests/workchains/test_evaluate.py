"""``mlfc.evaluate`` run for real, by ``mlfc-run`` in a process of its own, with a MatterSim checkpoint."""

from pathlib import Path

import numpy as np
import pytest
from aiida.engine import run_get_node
from aiida.orm import Dict
from aiida.plugins import WorkflowFactory

from aiida_mlfc.data.potential import PotentialData

TINY = Path(__file__).parents[1] / 'core' / 'potentials' / 'mattersim' / 'golden' / 'tiny-random.pth'


def test_evaluations_in_provenance(mlfc_code, make_structure, silicon, rocksalt):
    silicon = silicon.copy()
    silicon.positions[1] += [0.1, 0.05, -0.02]
    structures = {'Si': make_structure(silicon, 'silicon'), 'NaCl': make_structure(rocksalt)}
    potential = PotentialData.get_or_create(TINY)
    outputs, node = run_get_node(
        WorkflowFactory('mlfc.evaluate'),
        mlfc={
            'code': mlfc_code,
            'structures': structures,
            'potential': potential,
            'parameters': Dict({'elastic': True}),
        },
    )
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    assert set(outputs['output_evaluations']) == {'Si', 'NaCl'}
    arrays = outputs['output_evaluations']['Si']
    assert arrays.label == 'silicon'
    assert arrays.get_array('gradient_atom_types').shape == (2, 95)
    elastic = arrays.get_array('elastic_constants')
    assert elastic.shape == (6, 6)
    assert arrays.base.attributes.get('units')['elastic_constants'] == 'GPa'
    forces = arrays.get_array('forces')
    assert np.abs(forces).max() > 1e-3
    np.testing.assert_allclose(forces.sum(axis=0), 0, atol=1e-10)
    inputs = arrays.creator.inputs
    assert inputs.potential.uuid == potential.uuid
    assert inputs.structures.Si.uuid == structures['Si'].uuid
    # AiiDA keeps 14 digits of a number in a dictionary
    assert outputs['output_parameters']['Si']['energy'] == pytest.approx(arrays.get_array('energy'), rel=1e-12)
