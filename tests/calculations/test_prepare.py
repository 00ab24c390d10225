"""``prepare_for_submission``: the job folder that ``mlfc-run`` reads, and what AiiDA copies and retrieves."""

from pathlib import Path

import numpy as np
import pytest
from aiida.common.folders import Folder
from aiida.engine import ProcessState
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.orm import ArrayData, CalcJobNode, Dict, RemoteData
from aiida.plugins import CalculationFactory

from aiida_mlfc.data.force_constants import force_constants_node
from aiida_mlfc.data.potential import PotentialData
from aiida_mlfc.exchange.job import read_input, read_job, structure_from_arrays
from aiida_mlfc.runner.options import read_options


@pytest.fixture
def prepare(tmp_path, mlfc_code):
    def _prepare(name, **inputs):
        process = instantiate_process(get_manager().get_runner(), CalculationFactory(name), code=mlfc_code, **inputs)
        return process, process.prepare_for_submission(Folder(tmp_path / 'sandbox'))

    return _prepare


@pytest.fixture
def structures(make_structure, silicon, rocksalt):
    return {'Si': make_structure(silicon, '<img src=x>'), 'NaCl': make_structure(rocksalt)}


@pytest.mark.parametrize('task', ['relax', 'force_constants'])
def test_job_folder(prepare, tmp_path, structures, potential_node, task, silicon, mlfc_code):
    _, info = prepare(
        f'mlfc.{task}', structures=structures, potential=potential_node, parameters=Dict({'symprec': 1e-4})
    )
    job = read_job(tmp_path / 'sandbox')
    assert job.task == task
    assert job.structures == {'Si': '<img src=x>', 'NaCl': 'NaCl'}
    assert read_options(job.task, job.options).symprec == 1e-4
    assert structure_from_arrays(read_input(tmp_path / 'sandbox', 'Si')['structure']) == silicon
    assert info.local_copy_list == [(potential_node.uuid, 'tiny.safetensors', job.potential)]
    assert info.retrieve_list == ['results.json', 'mlfc-run.err']
    assert info.retrieve_temporary_list == ['results']
    assert info.codes_info[0].cmdline_params == ['.']
    assert info.codes_info[0].code_uuid == mlfc_code.uuid
    assert sorted(info.provenance_exclude_list) == ['inputs/NaCl.hdf5', 'inputs/Si.hdf5']
    assert not info.get('remote_copy_list')


def test_inputs_are_the_same_bytes_each_time(prepare, tmp_path, structures, potential_node):
    """Else a restart would not recognise what its parent finished."""
    contents = []
    for _ in range(2):
        prepare('mlfc.force_constants', structures=structures, potential=potential_node)
        contents.append({p.name: p.read_bytes() for p in (tmp_path / 'sandbox' / 'inputs').iterdir()})
    assert contents[0] == contents[1]
    assert set(contents[0]) == {'Si.hdf5', 'NaCl.hdf5'}


def test_restart_copies_the_finished_part(prepare, structures, potential_node, aiida_localhost):
    parent = RemoteData(computer=aiida_localhost, remote_path='/somewhere/parent').store()
    _, info = prepare('mlfc.relax', structures=structures, potential=potential_node, parent_folder=parent)
    assert info.remote_copy_list == [(aiida_localhost.uuid, '/somewhere/parent/results', 'results')]


def test_born_charges_of_some(prepare, tmp_path, structures, potential_node):
    nac = ArrayData({'born': np.array([np.eye(3), -np.eye(3)]), 'dielectric': 2.3 * np.eye(3)}).store()
    prepare('mlfc.force_constants', structures=structures, potential=potential_node, nac_params={'NaCl': nac})
    values = read_input(tmp_path / 'sandbox', 'NaCl')['nac_params']
    np.testing.assert_array_equal(values['born'], [np.eye(3), -np.eye(3)])
    assert values['factor'] == pytest.approx(14.399652, rel=1e-6)
    assert 'nac_params' not in read_input(tmp_path / 'sandbox', 'Si')


def test_phonons_need_no_potential(prepare, tmp_path, structures):
    quality = {
        'method': 'autograd',
        'dtype': 'float64',
        'permutation_asymmetry': 0.0,
        'acoustic_sum_residual': 0.0,
        'max_residual_force': 0.0,
        'n_directions': 1,
        'seconds': 0.1,
        'peak_memory': 1.0,
        'distance': None,
    }
    data = {
        'supercell_matrix': np.eye(3, dtype=int),
        'primitive_matrix': np.eye(3),
        'symprec': 1e-4,
        'quality': quality,
    }
    node = force_constants_node(structures['Si'], np.ones((2, 2, 3, 3)), data).store()
    node.label = 'silicon'
    _, info = prepare('mlfc.phonons', force_constants={'Si': node})
    job = read_job(tmp_path / 'sandbox')
    assert job.potential is None
    assert job.structures == {'Si': 'silicon'}
    values = read_input(tmp_path / 'sandbox', 'Si')
    np.testing.assert_array_equal(values['force_constants']['array'], np.ones((2, 2, 3, 3)))
    assert values['force_constants']['quality']['method'] == 'autograd'
    assert not info.get('local_copy_list')


@pytest.mark.parametrize('key', ['a__b', '1a', 'a-b'])
def test_keys_that_are_no_file_names(prepare, make_structure, silicon, potential_node, key):
    with pytest.raises(ValueError, match='wanted a letter'):
        prepare('mlfc.relax', structures={key: make_structure(silicon)}, potential=potential_node)


def test_no_structure_at_all(prepare, potential_node):
    with pytest.raises(ValueError, match='structures'):
        prepare('mlfc.relax', structures={}, potential=potential_node)


def test_caching_hash_sees_potential_and_settings(prepare, structures, potential_node, tiny_checkpoint, tmp_path):
    from aiida_mlfc.core.potentials.checkpoints import load_dx, save_dx

    model = load_dx(tiny_checkpoint)
    model.metadata['note'] = 'other'
    save_dx(model, tmp_path / 'tiny.safetensors')
    inputs = {'structures': structures, 'potential': potential_node, 'parameters': Dict({'symprec': 1e-4})}
    hashes = [
        prepare('mlfc.relax', **(inputs | change))[0].node.base.caching.compute_hash()
        for change in (
            {},
            {},
            {'parameters': Dict({'symprec': 1e-5})},
            {'potential': PotentialData.get_or_create(tmp_path / 'tiny.safetensors')},
            {'structures': {'Si': structures['Si']}},
        )
    ]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 4


def test_every_calculation_names_a_cache_version():
    for name in ('mlfc.evaluate', 'mlfc.relax', 'mlfc.force_constants', 'mlfc.phonons'):
        assert isinstance(CalculationFactory(name).CACHE_VERSION, int)


def test_what_may_succeed_another_time_is_not_cached(aiida_localhost):
    """A potential that found no room on a busy device is asked for again; an element that it does not know is not."""
    codes = CalculationFactory('mlfc.relax').spec().exit_codes
    found = {}
    for name in ('ERROR_JOB_REFUSED', 'ERROR_SOME_STRUCTURES_KILLED', 'ERROR_SOME_STRUCTURES_FAILED'):
        node = CalcJobNode(computer=aiida_localhost, process_type='aiida.calculations:mlfc.relax').store()
        node.set_process_state(ProcessState.FINISHED)
        node.set_exit_status(codes[name].status)
        node.seal()
        found[name] = node.base.caching.is_valid_cache
    assert list(found.values()) == [False, False, True]


def test_mattersim_keeps_its_suffix(prepare, tmp_path, structures):
    golden = Path(__file__).parents[1] / 'core' / 'potentials' / 'mattersim' / 'golden'
    node = PotentialData.get_or_create(golden / 'tiny-random.pth')
    _, info = prepare('mlfc.relax', structures=structures, potential=node)
    assert read_job(tmp_path / 'sandbox').potential == 'potential.pth'
    assert info.local_copy_list == [(node.uuid, 'tiny-random.pth', 'potential.pth')]


def test_evaluate(prepare, tmp_path, structures, potential_node, silicon):
    inputs = {'structures': structures, 'potential': potential_node}
    _, info = prepare('mlfc.evaluate', parameters=Dict({'dtype': 'float32'}), **inputs)
    job = read_job(tmp_path / 'sandbox')
    assert job.task == 'evaluate'
    assert read_options(job.task, job.options).dtype == 'float32'
    assert structure_from_arrays(read_input(tmp_path / 'sandbox', 'Si')['structure']) == silicon
    assert info.local_copy_list == [(potential_node.uuid, 'tiny.safetensors', job.potential)]
    assert info.retrieve_temporary_list == ['results']
