"""``mlfc.train`` takes force constants without forces in place of a force set."""

import json

import numpy as np
import pytest
from aiida.engine import run_get_node
from aiida.orm import Dict, StructureData
from aiida.plugins import CalculationFactory
from aiida_phonopy.data import ForceConstantsData

from aiida_mlfc.core.references.configurations import read_configurations
from aiida_mlfc.core.structures.cells import to_ase
from aiida_mlfc.data.force_sets import force_set_input, force_set_node
from aiida_mlfc.exchange.training_inputs import TAKEN_OFF

from ..spring_sets import spring_phonon, write_spring_constants

OPTIONS = {
    'name': 'toy',
    'model': {'channels': 4, 'n_heads': 2, 'n_layers': 1, 'cutoff': 3.2, 'radial_width': 8, 'n_radial': 4,
              'pair_cutoff': 5.0, 'triplet_cutoff': 4.0},
    'uncertainty_members': 0,
}  # fmt: skip


@pytest.fixture
def imported(aiida_profile, tmp_path):
    """What ``aiida-mlfc reference import`` makes of such a folder."""
    write_spring_constants(tmp_path / 'springs')
    (reference,) = read_configurations([tmp_path / 'springs'])
    return force_set_node(reference).store()


@pytest.fixture
def foreign(aiida_profile):
    """Of another program: the full array, no quality record, no source."""
    phonon = spring_phonon()
    node = ForceConstantsData(
        structure=StructureData(ase=to_ase(phonon.unitcell)),
        supercell_matrix=[[2, 0, 0], [0, 2, 0], [0, 0, 2]],
        primitive_matrix=np.eye(3).tolist(),
    )
    node.set_force_constants(phonon.force_constants)
    node.label = 'foreign'
    return node.store()


def test_node_holds_what_the_files_hold(imported, foreign):
    found, other = force_set_input(imported), force_set_input(foreign)
    phonon = spring_phonon()
    rows = phonon.primitive.p2s_map
    for one in (found, other):
        np.testing.assert_allclose(one['force_constants'], phonon.force_constants[rows], rtol=0, atol=1e-10)
        assert one['rows'].tolist() == rows.tolist()
        assert {'forces', 'displacements'}.isdisjoint(one)
    source = json.loads(found['source'])
    assert (source['name'], source['functional']) == ('springs', 'springs')
    assert 'FORCE_CONSTANTS' in source['sha256']
    assert source[TAKEN_OFF] < 1e-10
    assert json.loads(other['source'])['functional'] == 'not stated'


def test_potentials_do_not_pass_for_dft(imported):
    """Force constants that a potential made are learned, and the card says whose they are."""
    clone = imported.clone()
    clone.base.attributes.delete('reference')
    clone.base.attributes.set('quality', {**imported.base.attributes.get('quality'), 'method': 'autograd'})
    source = json.loads(force_set_input(clone)['source'])
    assert source['code'] == 'a machine-learned potential (autograd), no DFT'
    assert 'code' not in json.loads(force_set_input(imported)['source'])


def test_without_force_constants(foreign, mlfc_code):
    empty = ForceConstantsData(structure=foreign.get_unitcell(), supercell_matrix=[[2, 0, 0], [0, 2, 0], [0, 0, 2]])
    inputs = {'code': mlfc_code, 'force_sets': {'empty': empty.store()}, 'parameters': Dict(OPTIONS)}
    with pytest.raises(ValueError, match='empty: a ForceConstantsData without force constants'):
        run_get_node(CalculationFactory('mlfc.train'), **inputs)


def test_trained_with_provenance(imported, mlfc_code):
    inputs = {'code': mlfc_code, 'force_sets': {'springs': imported}, 'parameters': Dict(OPTIONS)}
    outputs, node = run_get_node(CalculationFactory('mlfc.train'), **inputs)
    assert node.is_finished_ok, node.exit_message
    linked = node.base.links.get_incoming(node_class=ForceConstantsData).all_nodes()
    assert [item.uuid for item in linked] == [imported.uuid]
    card = outputs['output_potential'].card
    assert card['learned from force constants alone']['materials'] == ['springs']
    row = outputs['output_parameters']['springs']
    assert row['relative_frobenius_percent'] < 1
    assert 'force_rmse_meV_per_A' not in row
