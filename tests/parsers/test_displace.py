"""Results of ``task: displace`` that ``mlfc-run`` really left, whole and tampered with."""

import json

import numpy as np
import pytest
from aiida.common.links import LinkType
from aiida.orm import CalcJobNode, FolderData
from aiida.plugins import CalculationFactory, ParserFactory
from aiida.plugins.entry_point import format_entry_point_string

from aiida_mlfc.exchange.arrays import read_arrays, write_arrays
from aiida_mlfc.runner.run import run_job


@pytest.fixture
def folder(make_job, silicon, tmp_path):
    """Diamond, unstable with the random potential."""
    path = make_job(tmp_path / 'job', {'n0': silicon}, 'displace', mesh=[1, 1, 1], directions=1)
    assert run_job(path) == 0
    (path / 'mlfc-run.err').write_text('mlfc-run: displace, 1 structures, 0 done already\n')
    return path


@pytest.fixture
def parse(make_structure, silicon, potential_node, aiida_localhost):
    def _parse(folder):
        kind = format_entry_point_string('aiida.calculations', 'mlfc.displace')
        node = CalcJobNode(computer=aiida_localhost, process_type=kind)
        for label, value in {'structures__n0': make_structure(silicon), 'potential': potential_node}.items():
            node.base.links.add_incoming(value, LinkType.INPUT_CALC, label)
        node.store()
        retrieved = FolderData()
        for name in ('results.json', 'mlfc-run.err'):
            retrieved.base.repository.put_object_from_file(folder / name, name)
        retrieved.base.links.add_incoming(node, LinkType.CREATE, 'retrieved')
        retrieved.store()
        return ParserFactory('mlfc.displace').parse_from_node(
            node, store_provenance=False, retrieved_temporary_folder=str(folder)
        )

    return _parse


def test_modes_and_displaced_crystals(folder, parse, silicon):
    outputs, process = parse(folder)
    assert process.exit_status == 0
    row = outputs['output_parameters']['n0']
    assert row['modes'][0]['degeneracy'] == 3
    assert row['lowest_frequency'] == pytest.approx(row['modes'][0]['frequency'])
    assert set(outputs['displaced_structures']) == {f'n0_{name}' for name in row['via']}
    for name, via in row['via'].items():
        moved = outputs['displaced_structures'][f'n0_{name}'].get_ase()
        bond = moved.get_distance(0, 1, mic=True) - silicon.get_distance(0, 1, mic=True)
        # both atoms move by the amplitude, against each other along a bond
        assert abs(bond) <= 2 * via['amplitude'] + 1e-6
        assert abs(bond) > 0.1 * via['amplitude']


@pytest.mark.parametrize('damage', ['another element', 'another size', 'missing', 'no arrays'])
def test_what_is_no_supercell_of_the_input_becomes_no_node(folder, parse, damage):
    path = folder / 'results' / 'n0' / 'arrays.hdf5'
    content = read_arrays(path)
    name = next(iter(content['structures']))
    arrays = content['structures'][name]
    if damage == 'another element':
        arrays['numbers'] = np.array([14, 32])
    elif damage == 'another size':
        arrays.update(numbers=np.array([14]), positions=arrays['positions'][:1])
    elif damage == 'missing':
        del content['structures'][name]
    if damage == 'no arrays':
        path.unlink()
    else:
        write_arrays(path, content)
    outputs, process = parse(folder)
    codes = CalculationFactory('mlfc.displace').spec().exit_codes
    assert process.exit_status == codes.ERROR_OUTPUT_RESULTS_UNREADABLE.status
    assert 'displaced_structures' not in outputs


def test_result_names_what_is_not_there(folder, parse):
    path = folder / 'results' / 'n0' / 'result.json'
    content = json.loads(path.read_text())
    content['data']['via']['m9d9'] = next(iter(content['data']['via'].values()))
    path.write_text(json.dumps(content))
    _, process = parse(folder)
    codes = CalculationFactory('mlfc.displace').spec().exit_codes
    assert process.exit_status == codes.ERROR_OUTPUT_RESULTS_UNREADABLE.status
