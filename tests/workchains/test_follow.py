"""``mlfc.follow`` with real jobs: the tree is in the provenance, and says what the Python function says."""

import pytest
from aiida.engine import run_get_node
from aiida.orm import CalcJobNode, Dict, Node, QueryBuilder
from ase.build import bulk

from aiida_mlfc.calculations.following import EXTRA_PARENT
from aiida_mlfc.core.potentials.registry import load_potential
from aiida_mlfc.runner.follow import follow_modes
from aiida_mlfc.workchains.follow import FollowWorkChain, validate_budget


def builder_for(code, structure, potential):
    return FollowWorkChain.get_builder_from_protocol(
        code,
        structure,
        potential,
        overrides={
            'relax': {'parameters': {'relax_cell': False}},
            'force_constants': {'parameters': {'supercell_matrix': [2, 2, 2], 'truncation_qpoints': 0}},
            'phonons': {'parameters': {'mesh_length': 12.0, 'points_per_segment': 5}},
        },
        budget={'generations': 1},
        displace={'directions': 1, 'mesh': [1, 1, 1]},
        confirm_mesh=[2, 1, 1],
    )


def test_tree_in_the_provenance(mlfc_code, potential_node, make_structure, silicon, tiny_checkpoint):
    """The random potential finds diamond unstable at Γ, with wells of different depth on both sides."""
    structure = make_structure(silicon, 'diamond')
    outputs, node = run_get_node(builder_for(mlfc_code, structure, potential_node))
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    tree = outputs['output_tree'].get_dict()
    direct = follow_modes(
        silicon,
        load_potential(str(tiny_checkpoint)),
        generations=1,
        mesh=(1, 1, 1),
        directions=1,
        relax_cell=False,
        confirm_mesh=(2, 1, 1),
    )
    assert [n.spacegroup for n in direct.nodes] == ['Fd-3m (227)', 'R-3m (166)', 'R-3m (166)']
    for ours, theirs in zip(tree['nodes'], direct.nodes, strict=True):
        assert (ours['spacegroup'], ours['parent'], ours['n_atoms']) == (
            theirs.spacegroup,
            theirs.parent,
            theirs.n_atoms,
        )
        assert ours['energy'] == pytest.approx(theirs.energy, abs=1e-3)
        assert ours['lowest_frequency'] == pytest.approx(theirs.lowest_frequency, abs=1e-2)
    root, child, _ = tree['nodes']
    assert root['verdict'] == 'unstable'
    # the denser mesh has the last word
    assert child['confirmed_frequency'] == pytest.approx(direct.nodes[1].confirmed_frequency, abs=1e-2)
    assert child['verdict'] == direct.nodes[1].verdict
    assert ('phonon_bands' in outputs) == (child['verdict'] == 'stable')
    crystals = outputs['crystals']
    for values in tree['nodes']:
        crystal = crystals[f'n{values["identifier"]}']
        assert crystal.uuid == values['uuid']
        assert len(crystal.sites) == values['n_atoms']
    assert crystals['n1'].base.extras.get(EXTRA_PARENT) == crystals['n0'].uuid
    # from the child back to its parent, the structure of the user and the potential, by links alone
    query = QueryBuilder().append(Node, filters={'uuid': crystals['n1'].uuid}, tag='here')
    ancestors = {n.uuid for n in query.append(Node, with_descendants='here').all(flat=True)}
    assert {crystals['n0'].uuid, structure.uuid, potential_node.uuid} <= ancestors
    labels = [job.process_label for job in node.called_descendants if isinstance(job, CalcJobNode)]
    assert labels.count('DisplaceCalculation') == 3
    assert labels.count('RelaxCalculation') == 2


def test_a_crystal_that_the_potential_does_not_know(mlfc_code, potential_node, make_structure):
    structure = make_structure(bulk('Fe', 'bcc', a=2.87), 'iron')
    _, node = run_get_node(builder_for(mlfc_code, structure, potential_node))
    assert node.exit_status == FollowWorkChain.spec().exit_codes.ERROR_ROOT_NOT_RELAXED.status
    assert 'does not know Fe' in node.exit_message


def test_a_budget_without_sense_is_refused(aiida_profile):
    assert validate_budget(Dict({'generations': 2, 'children': 1, 'atoms': 8}), None) is None
    assert 'wanted at least' in validate_budget(Dict({'generations': -1}), None)
    assert 'colour' in validate_budget(Dict({'colour': 1}), None)
