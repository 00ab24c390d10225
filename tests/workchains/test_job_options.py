"""Every builder takes the same options: those of the scheduler, and the number of processes in a job."""

import numpy as np
import pytest

from aiida_mlfc.data.force_constants import force_constants_node
from aiida_mlfc.workchains.active_learning import ActiveLearningWorkChain
from aiida_mlfc.workchains.comparison import ComparisonWorkChain
from aiida_mlfc.workchains.follow import FollowWorkChain
from aiida_mlfc.workchains.phonon import PhononWorkChain

OPTIONS = {
    'workers': 2,
    'queue_name': 'gpu',
    'resources': {'num_machines': 1, 'num_mpiprocs_per_machine': 1},
}


@pytest.fixture
def builders(mlfc_code, potential_node, make_structure, silicon):
    """Of every work chain that has a protocol, by name, with the steps that are jobs."""
    structure = make_structure(silicon)
    made = {'supercell_matrix': np.eye(3, dtype=int), 'primitive_matrix': np.eye(3), 'symprec': 1e-4, 'quality': {}}
    reference = force_constants_node(structure, np.ones((2, 2, 3, 3)), made)
    nodes, options = (mlfc_code, structure, potential_node), {'options': OPTIONS}
    return {
        'phonon': (PhononWorkChain.get_builder_from_protocol(*nodes, **options), ('steps',)),
        'follow': (FollowWorkChain.get_builder_from_protocol(*nodes, **options), ('relax', 'displace')),
        'comparison': (
            ComparisonWorkChain.get_builder_from_protocol(mlfc_code, {'si': reference}, potential_node, **options),
            ('relax', 'force_constants'),
        ),
        'active learning': (
            ActiveLearningWorkChain.get_builder_from_protocol(mlfc_code, {'si': structure}, **options),
            ('train',),
        ),
    }


def test_workers_are_an_input_and_the_rest_are_options(builders):
    for name, (builder, steps) in builders.items():
        for step in steps:
            inputs = builder[step]['mlfc']
            assert inputs.workers == 2, name
            assert inputs.metadata.options['queue_name'] == 'gpu', name
            assert 'workers' not in inputs.metadata.options, name
    for steps in (builders['active learning'][0].screen.steps.mlfc, builders['follow'][0].phonon.steps.mlfc):
        assert (steps.workers, steps.metadata.options['queue_name']) == (2, 'gpu')
