"""``mlfc.comparison`` run for real: EMT plays DFT, the tiny potential is measured against it."""

import numpy as np
import pytest
from aiida.engine import run_get_node
from aiida.orm import Node, QueryBuilder, SinglefileData, StructureData
from ase.build import bulk

from aiida_mlfc.calculations.comparison import comparison_from_dict, force_constants_record
from aiida_mlfc.core.comparison.split import split
from aiida_mlfc.data.force_constants import force_constants_node
from aiida_mlfc.workchains.ase_reference import AseReferenceWorkChain
from aiida_mlfc.workchains.comparison import ComparisonWorkChain

EMT = {'module': 'ase.calculators.emt', 'name': 'EMT', 'arguments': {}}


@pytest.fixture
def make_reference(aiida_profile):
    def _make(atoms, label, supercell=(2, 2, 2)):
        builder = AseReferenceWorkChain.get_builder_from_protocol(
            StructureData(ase=atoms), EMT, overrides={'supercell_matrix': list(supercell)}
        )
        node = run_get_node(builder)[0]['force_constants']
        node.label = label
        return node

    return _make


def test_parts_of_the_error_and_their_origin(mlfc_code, potential_node, make_reference):
    """Three crystals, one of an element that the potential does not know: rows for all, numbers for two."""
    references = {
        'small': make_reference(bulk('Al', 'fcc', a=4.0), 'Al small'),
        'large': make_reference(bulk('Al', 'fcc', a=4.05), 'Al large'),
        'copper': make_reference(bulk('Cu', 'fcc', a=3.6), 'copper'),
    }
    builder = ComparisonWorkChain.get_builder_from_protocol(mlfc_code, references, potential_node, 'fast')
    outputs, node = run_get_node(builder)
    assert node.exit_status == ComparisonWorkChain.spec().exit_codes.ERROR_SOME_CRYSTALS_FAILED.status
    assert 'copper' in node.exit_message
    # equal supercells share a job for each kind of force constants: autograd, two steps, own geometry
    labels = [child.process_label for child in node.called]
    assert (labels.count('RelaxWorkChain'), labels.count('ForceConstantsWorkChain')) == (1, 4)
    assert set(outputs['comparisons']) == {'small', 'large'}
    summary = outputs['summary'].get_dict()
    rows = {row['name']: row for row in summary['rows']}
    assert {name: row['status'] for name, row in rows.items()} == {
        'Al small': 'ok',
        'Al large': 'ok',
        'copper': 'error',
    }
    assert 'does not know Cu' in rows['copper']['error']
    # one material, twice
    assert summary['aggregate']['n_references'] == 2
    assert summary['aggregate']['n_materials'] == 1
    assert summary['aggregate']['n_failed'] == 1

    page = outputs['page'].get_content()
    assert all(name in page for name in ('Al small', 'Al large', 'does not know Cu'))
    found = outputs['comparisons']['large'].get_dict()
    parts = found['split']
    assert set(parts['numerical']) == {'0.01', '0.02'}
    assert parts['numerical']['0.01']['relative_frobenius'] > 0
    # fcc has no free coordinate and the cell is kept: nothing relaxes
    assert parts['relaxation']['frequency_max_error'] == pytest.approx(0, abs=1e-6)
    assert parts['model']['relative_frobenius'] > 10 * parts['numerical']['0.02']['relative_frobenius']
    # the supercell of the reference, not that of the protocol
    assert found['comparison']['supercell_matrix'] == (2 * np.eye(3, dtype=int)).tolist()
    assert found['reference']['code'].startswith('ase.calculators.emt.EMT')
    assert found['cost']['potential_seconds'] > 0

    direct, compared = split(
        force_constants_record(references['large']), force_constants_record(outputs['autograd']['large']), nac='shared'
    )
    assert parts['model']['frequency_mae'] == pytest.approx(direct.model.frequency_mae, rel=1e-10)
    again = comparison_from_dict(found['comparison'])
    assert again.mesh.mae == pytest.approx(compared.summary.mesh.mae, rel=1e-10)
    assert [shell.n_pairs for shell in again.force_constants.shells] == [
        shell.n_pairs for shell in compared.summary.force_constants.shells
    ]
    # from the page back to the crystal and the potential, by links alone
    query = QueryBuilder().append(SinglefileData, filters={'uuid': outputs['page'].uuid}, tag='here')
    ancestors = set(query.append(Node, with_descendants='here', project='uuid').all(flat=True))
    structure = references['large'].creator.inputs.phonopy_data.creator.inputs.preprocess_data.creator.inputs.structure
    assert {potential_node.uuid, references['large'].uuid, structure.uuid} <= ancestors


def test_golden_builder(mlfc_code, potential_node, make_reference, data_regression):
    from .test_protocols import plain

    reference = make_reference(bulk('Al', 'fcc', a=4.0), 'Al')
    builder = ComparisonWorkChain.get_builder_from_protocol(mlfc_code, {'Al': reference}, potential_node, 'balanced')
    names = {mlfc_code.uuid: '<code>', potential_node.uuid: '<potential>', reference.uuid: '<reference>'}
    inputs = plain(builder._inputs(prune=True), names)
    data_regression.check(
        {
            key: value.get_list() if hasattr(value, 'get_list') else getattr(value, 'value', value)
            for key, value in inputs.items()
        }
    )


def test_two_that_fail_under_one_name_are_two(mlfc_code, potential_node, make_structure):
    """The same material from two sources: a row each, told apart by their keys."""
    made = {'supercell_matrix': np.eye(3, dtype=int), 'primitive_matrix': np.eye(3), 'symprec': 1e-4, 'quality': {}}
    references = {}
    for key, label in (('first', 'copper'), ('second', 'copper'), ('third', 'silver')):
        atoms = bulk('Ag' if label == 'silver' else 'Cu', 'fcc', a=3.6)
        references[key] = force_constants_node(make_structure(atoms), np.ones((1, 1, 3, 3)), made).store()
        references[key].label = label
    builder = ComparisonWorkChain.get_builder_from_protocol(mlfc_code, references, potential_node)
    outputs, node = run_get_node(builder)
    assert 'first, second, third' in node.exit_message
    rows = outputs['summary'].get_dict()['rows']
    assert sorted(row['name'] for row in rows) == ['copper (first)', 'copper (second)', 'silver']
    assert all('does not know' in row['error'] for row in rows)
