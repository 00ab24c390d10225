"""The job file: round trip, refusals, fingerprints."""

import dataclasses

import numpy as np
import pytest
import yaml

from aiida_mlfc.exchange.job import (
    Job,
    JobFileError,
    fingerprint,
    read_input,
    read_job,
    structure_arrays,
    structure_from_arrays,
    write_job,
)
from aiida_mlfc.exchange.names import check_key

JOB = Job(
    'force_constants', {'symprec': 1e-4, 'supercell_matrix': [2, 2, 2]}, {'a': '<img>', 'b_2': 'ü\n#'}, 'p.safetensors'
)
GOOD = {'schema_version': 1, 'task': 'relax', 'potential': 'p', 'options': {}, 'structures': {'a': {'name': 'x'}}}


@pytest.fixture
def folder(tmp_path, silicon, rocksalt):
    write_job(
        tmp_path,
        JOB,
        {
            'a': {'structure': structure_arrays(silicon)},
            'b_2': {'structure': structure_arrays(rocksalt), 'nac_params': {'born': np.ones((2, 3, 3))}},
        },
    )
    return tmp_path


def test_round_trip(folder, silicon, rocksalt):
    assert read_job(folder) == JOB
    assert structure_from_arrays(read_input(folder, 'a')['structure']) == silicon
    second = read_input(folder, 'b_2')
    assert structure_from_arrays(second['structure']) == rocksalt
    assert second['nac_params']['born'].shape == (2, 3, 3)


def test_isotopes_cross_and_standard_masses_leave_no_trace(tmp_path, silicon):
    """The bytes of jobs without isotopes, and with them fingerprints of old results, stay what they were."""
    heavy, standard = silicon.copy(), silicon.copy()
    heavy.set_masses([30.0] * len(silicon))
    standard.set_masses(silicon.get_masses())
    assert set(structure_arrays(standard)) == set(structure_arrays(silicon)) == {'numbers', 'positions', 'cell'}
    write_job(tmp_path, dataclasses.replace(JOB, structures={'a': 'x'}), {'a': {'structure': structure_arrays(heavy)}})
    back = structure_from_arrays(read_input(tmp_path, 'a')['structure'])
    assert back == heavy
    assert back.get_masses().tolist() == [30.0] * len(silicon)


@pytest.mark.parametrize('masses', [[30.0], [30.0, np.nan], [30.0, 0.0], [30.0, -1.0], [[30.0, 30.0]]])
def test_masses_that_are_none(silicon, masses):
    with pytest.raises(JobFileError, match='masses'):
        structure_from_arrays({**structure_arrays(silicon), 'masses': np.array(masses)})


@pytest.mark.parametrize('key', ['', '1a', '../a', 'a/b', 'a__b', 'a.b', 'a\n', 'ä', 'a' * 81, None, 3, '.', '_a'])
def test_keys_that_are_no_names(key):
    with pytest.raises(ValueError, match='wanted a letter'):
        check_key(key)


@pytest.mark.parametrize('key', ['a', 'Si2_0f', 'a' * 80])
def test_good_keys(key):
    assert check_key(key) == key


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'schema_version': 2}, 'schema_version 2, wanted 1'),
        ({'schema_version': None}, 'schema_version None'),
        ({'task': 'rm -rf'}, 'wanted one of relax'),
        ({'potential': '../secret'}, 'name of a file in the job folder'),
        ({'potential': 3}, 'name of a file in the job folder'),
        ({'potential': None}, 'needs one'),
        ({'structures': {}}, 'names no structure'),
        ({'structures': {'../a': {'name': 'x'}}}, "got '../a'"),
        ({'structures': {'a': {}}}, 'is broken'),
        ({'structures': ['a']}, 'is broken'),
        ({'structures': None}, 'names no structure'),
        ({'options': 'fast'}, 'is broken'),
    ],
    ids=str,
)
def test_refused(tmp_path, changes, message):
    (tmp_path / 'job.yaml').write_text(yaml.safe_dump(GOOD | changes))
    with pytest.raises(JobFileError, match=message):
        read_job(tmp_path)


@pytest.mark.parametrize(
    'content', [b'', b'- a', b'{', b'\xff\xfe\x00', b'a: !!python/object/apply:os.system [ls]', b'\x00']
)
def test_no_job_file_at_all(tmp_path, content):
    with pytest.raises(JobFileError, match=r'there is no job\.yaml'):
        read_job(tmp_path)
    (tmp_path / 'job.yaml').write_bytes(content)
    with pytest.raises(JobFileError, match=r'job\.yaml'):
        read_job(tmp_path)


def test_inputs_must_be_those_named(tmp_path, silicon):
    with pytest.raises(JobFileError, match='the job names'):
        write_job(tmp_path, JOB, {'a': {'structure': structure_arrays(silicon)}})


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'numbers': None}, "no 'numbers'"),
        ({'cell': None}, "no 'cell'"),
        ({'positions': np.zeros((3, 3))}, 'shapes'),
        ({'numbers': np.zeros((2, 1), int)}, 'shapes'),
        ({'cell': np.zeros(6)}, 'shapes'),
    ],
    ids=lambda x: x if isinstance(x, str) else next(iter(x)),
)
def test_broken_structures(silicon, changes, message):
    arrays = {k: v for k, v in (structure_arrays(silicon) | changes).items() if v is not None}
    with pytest.raises(JobFileError, match=message):
        structure_from_arrays(arrays)


def test_missing_input(folder):
    (folder / 'inputs' / 'a.hdf5').unlink()
    with pytest.raises(JobFileError, match='input of a cannot be read'):
        read_input(folder, 'a')


def test_fingerprint_sees_everything_that_matters(folder, silicon):
    marks = {
        'as it is': fingerprint(folder, JOB, 'a', 'sha'),
        'other structure': fingerprint(folder, JOB, 'b_2', 'sha'),
        'other potential': fingerprint(folder, JOB, 'a', 'other'),
        'other option': fingerprint(folder, dataclasses.replace(JOB, options={'symprec': 1e-5}), 'a', 'sha'),
        'other task': fingerprint(folder, dataclasses.replace(JOB, task='relax'), 'a', 'sha'),
    }
    assert len(set(marks.values())) == len(marks)
    assert fingerprint(folder, read_job(folder), 'a', 'sha') == marks['as it is']
    assert (
        fingerprint(folder, dataclasses.replace(JOB, structures={'a': 'other name'}), 'a', 'sha') == marks['as it is']
    )


def test_fingerprint_does_not_know_the_folder(folder, tmp_path, silicon):
    """A restarted calculation writes its inputs anew and must find the results of the first."""
    again = tmp_path / 'again'
    job = dataclasses.replace(JOB, structures={'a': 'x'})
    write_job(again, job, {'a': {'structure': structure_arrays(silicon)}})
    assert fingerprint(again, read_job(again), 'a', 'sha') == fingerprint(folder, JOB, 'a', 'sha')
