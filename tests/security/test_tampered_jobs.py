"""Job folders, result files and checkpoints that somebody tampered with: an error of their own, and nothing else.

Each case starts from a real job; what is damaged must be named, what is not damaged must be computed, nothing may be
executed or written outside. hypothesis makes more of them.
"""

import json
import os
import shutil
import stat

import h5py
import numpy as np
import pytest
import yaml
from ase.build import bulk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiida_mlfc.core.checkpoint_files import read_header
from aiida_mlfc.core.checkpoint_header import CheckpointError
from aiida_mlfc.exchange import limits
from aiida_mlfc.exchange.arrays import read_array, read_arrays, write_arrays
from aiida_mlfc.exchange.job import JobFileError, read_job
from aiida_mlfc.exchange.results import ResultError, read_result
from aiida_mlfc.runner.run import run_job

SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def job(tmp_path, make_job, silicon, rocksalt):
    """A job of three, in a folder with a neighbour that nobody may touch."""
    (tmp_path / 'outside').mkdir()
    (tmp_path / 'outside' / 'precious').write_text('precious')
    return make_job(tmp_path / 'job', {'Si': silicon, 'bad': bulk('Si', 'diamond', a=5.5), 'NaCl': rocksalt})


def check_outside(job):
    outside = job.parent / 'outside'
    assert [(p.name, p.read_text()) for p in outside.iterdir()] == [('precious', 'precious')]
    assert sorted(p.name for p in job.parent.iterdir()) == ['job', 'outside']


def edit(job, **changes):
    content = yaml.safe_load((job / 'job.yaml').read_text())
    (job / 'job.yaml').write_text(yaml.safe_dump(content | changes))


def hdf5(path, fill):
    with h5py.File(path, 'w') as handle:
        fill(handle)


def nested(handle):
    for _ in range(200):
        handle = handle.create_group('a')


def cycle(handle):
    handle['loop'] = handle['/']


def many(handle):
    for k in range(2_000):
        handle.create_group(f'g{k}')


def filtered(handle):
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((2,))
    plist.set_filter(32008, h5py.h5z.FLAG_OPTIONAL, ())
    h5py.h5d.create(handle.id, b'positions', h5py.h5t.NATIVE_DOUBLE, h5py.h5s.create_simple((2,)), plist)


#: what is in the input file of ``bad``
INPUTS = {
    'shape bomb': lambda h: h.create_dataset('structure/positions', (10**6, 10**6), 'f8', chunks=(1000, 1000)),
    'shape bomb in one piece': lambda h: h.create_dataset('structure/positions', (10**4, 10**4), 'f8', chunks=None),
    'deep groups': nested,
    'a group in itself': cycle,
    'groups without end': many,
    'a link to another file': lambda h: h.__setitem__('structure', h5py.ExternalLink('/etc/passwd', '/')),
    'a soft link': lambda h: h.__setitem__('structure', h5py.SoftLink('/')),
    'data elsewhere': lambda h: h.create_dataset('x', (8,), 'u1', external=[('/etc/passwd', 0, 8)]),
    'a filter to be loaded': filtered,
    'references': lambda h: h.create_dataset('x', data=h.ref, dtype=h5py.ref_dtype),
    'opaque bytes': lambda h: h.create_dataset('x', data=np.void(b'abc')),
    'an array as attribute': lambda h: h.attrs.__setitem__('x', np.zeros(1000)),
    'nothing': lambda h: None,
}


@pytest.mark.parametrize('name', INPUTS)
def test_inputs(job, name, monkeypatch):
    """One bad input is that structure's failure; the others have their results."""
    monkeypatch.setattr(limits, 'MOST_OBJECTS', 1000)
    hdf5(job / 'inputs' / 'bad.hdf5', INPUTS[name])
    assert run_job(job) == 4
    assert [read_result(job, key)['status'] for key in ('Si', 'bad', 'NaCl')] == ['ok', 'failed', 'ok']
    message = read_result(job, 'bad')['error']['message']
    assert 'bad cannot be read' in message or 'structure' in message, message
    check_outside(job)


@pytest.mark.parametrize(
    'change',
    [
        {'numbers': np.array([10**9, 3])},
        {'numbers': np.array([-1, 3])},
        {'numbers': np.array([1.5, np.nan])},
        {'numbers': np.array([], int), 'positions': np.zeros((0, 3))},
        {'positions': np.full((2, 3), np.nan)},
        {'positions': np.full((2, 3), 1e300)},
        {'cell': np.zeros((3, 3))},
        {'cell': np.eye(3) * 1e150},
        {'cell': np.array([['a'] * 3] * 3)},
        {'positions': np.zeros((5, 3))},
    ],
    ids=str,
)
def test_structures_in_inputs(job, change):
    structure = read_arrays(job / 'inputs' / 'bad.hdf5')['structure'] | change
    write_arrays(job / 'inputs' / 'bad.hdf5', {'structure': structure})
    assert run_job(job) == 4
    assert [read_result(job, key)['status'] for key in ('Si', 'bad', 'NaCl')] == ['ok', 'failed', 'ok']


REFUSED = {
    'a type to be made': '!!python/object/apply:os.system ["touch outside/executed"]\n',
    'another tag': 'task: !!binary aGVsbG8=\n',
    'aliases': 'a: &a [1, 1]\nb: [*a, *a]\n',
    'deep': '[' * 5000 + ']' * 5000,
    'deep mappings': ''.join(' ' * k + 'a:\n' for k in range(400)),
    'two documents': 'a: 1\n---\nb: 2\n',
    'no mapping': '- 1\n',
    'binary': '\x00\x01',
}


@pytest.mark.parametrize('name', REFUSED)
def test_job_files_that_are_refused(job, name):
    (job / 'job.yaml').write_text(REFUSED[name])
    assert run_job(job) == 2
    assert not (job / 'results').exists()
    check_outside(job)


@pytest.mark.parametrize(
    'changes',
    [
        {'structures': {'../../outside/x': {'name': 'x'}}},
        {'structures': {'/etc/passwd': {'name': 'x'}}},
        {'structures': {'a' * 200: {'name': 'x'}}},
        {'structures': {'Si': {'name': 'x' * 10_000}}},
        {'structures': {f'k{k}': {'name': 'x'} for k in range(1001)}},
        {'potential': '../outside/precious'},
        {'potential': '/etc/passwd'},
        {'potential': '..'},
        {'options': {'supercell_matrix': list(range(100_000))}},
        {'execution': {'workers': '1; touch outside/executed'}},
        {'execution': {'command': 'touch outside/executed'}},
        {'execution': {'again': ['../../outside']}},
        {'schema_version': 10**100},
        {'task': ['relax']},
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_job_files_that_ask_for_too_much(job, changes, monkeypatch):
    monkeypatch.setattr(limits, 'MOST_STRUCTURES', 1000)
    edit(job, **changes)
    assert run_job(job) in (2, 3)
    assert not (job / 'results').exists()
    check_outside(job)


def test_supercells_beyond_reason_are_refused_one_by_one(job):
    edit(job, options={'supercell_matrix': [100_000, 100_000, 100_000]})
    assert run_job(job) == 4
    assert 'wanted at most' in read_result(job, 'Si')['error']['message']


@pytest.mark.parametrize('what', ['results', 'results/.running'])
def test_folders_that_lead_elsewhere(job, what):
    (job / what).parent.mkdir(exist_ok=True)
    (job / what).symlink_to(job.parent / 'outside')
    assert run_job(job) == 2
    check_outside(job)


@pytest.mark.parametrize('name', ['Si', '.Si.partial'])
def test_result_folders_that_lead_elsewhere(job, name):
    """A link in the place of a result is replaced by the result; where it led nothing changes."""
    (job / 'results').mkdir()
    (job / 'results' / name).symlink_to(job.parent / 'outside')
    assert run_job(job) == 0
    assert not (job / 'results' / 'Si').is_symlink()
    check_outside(job)


def test_pipes_in_the_place_of_files(job):
    """Nothing waits for a writer that never comes."""
    (job / 'inputs' / 'bad.hdf5').unlink()
    os.mkfifo(job / 'inputs' / 'bad.hdf5')
    assert run_job(job) == 2
    for name in ('potential.safetensors', 'job.yaml'):
        (job / name).unlink()
        os.mkfifo(job / name)
        assert run_job(job) in (2, 3)


def test_a_result_of_somebody_else_is_no_result(job):
    """Made by hand, with the right name and status: without the fingerprint of the input it is computed again."""
    (job / 'results' / 'Si').mkdir(parents=True)
    forged = {'key': 'Si', 'status': 'ok', 'fingerprint': 'forged', 'data': {}, 'name': 'x', 'seconds': 0}
    (job / 'results' / 'Si' / 'result.json').write_text(json.dumps(forged))
    (job / 'results' / 'Si' / 'run.sh').write_text('touch outside/executed')
    (job / 'results' / 'Si' / 'run.sh').chmod(stat.S_IRWXU)
    assert run_job(job) == 0
    assert read_result(job, 'Si')['fingerprint'] != 'forged'
    assert not (job / 'results' / 'Si' / 'run.sh').exists()
    check_outside(job)


@pytest.mark.parametrize(
    'content',
    [
        b'[' * 100_000,
        b'{"key": "Si", "status": "ok", "x": ' + b'9' * 10_000 + b'}',
        b'{"key": "Si", "status": "ok"' + b' ' * 50_000_000 + b'}',
        b'\xff\xfe\x00',
        b'{"key": "NaCl", "status": "ok"}',
        b'{"key": "Si", "status": ["ok"]}',
    ],
    ids=['deep', 'digits', 'large', 'no text', 'another key', 'another kind'],
)
def test_result_files(job, content):
    (job / 'results' / 'Si').mkdir(parents=True)
    (job / 'results' / 'Si' / 'result.json').write_bytes(content)
    with pytest.raises(ResultError, match='the result of Si'):
        read_result(job, 'Si')


def test_control_codes_do_not_reach_the_terminal(job, capsys):
    """Names and messages of broken files go to stderr: a terminal obeys what begins with an escape."""
    edit(job, structures={'Si': {'name': '\x1b[2J\x1b]0;owned\x07'}}, options={'\x1b[31mred': 1})
    assert run_job(job) == 2
    assert '\x1b' not in capsys.readouterr().err


@SETTINGS
@given(data=st.data())
def test_job_files_with_bytes_changed(tmp_path_factory, real_results, data):
    """Whatever is changed: a job, or a clear error."""
    raw = bytearray((real_results['force_constants'] / 'job.yaml').read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        start = data.draw(st.integers(0, len(raw)))
        raw[start : start + data.draw(st.integers(0, 30))] = data.draw(st.binary(max_size=20))
    folder = tmp_path_factory.getbasetemp() / 'changed-job'
    folder.mkdir(exist_ok=True)
    (folder / 'job.yaml').write_bytes(bytes(raw))
    try:
        job = read_job(folder)
    except JobFileError as error:
        assert str(error)  # noqa: PT017 (either it is a job, or this)
    else:
        assert all(key.isidentifier() for key in job.structures)


@SETTINGS
@given(data=st.data(), name=st.sampled_from(['arrays.hdf5', 'force_constants.hdf5']))
def test_hdf5_with_bytes_changed(tmp_path_factory, real_results, data, name):
    """Arrays of finite size, or an OSError; never anything else."""
    raw = bytearray((real_results['force_constants'] / 'results' / 'Si' / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(raw) - 1))
        raw[start : start + 1] = data.draw(st.binary(min_size=1, max_size=1))
    if data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(0, len(raw)))]
    path = tmp_path_factory.getbasetemp() / 'changed.hdf5'
    path.write_bytes(bytes(raw))
    for read in (read_arrays, lambda path: read_array(path, 'force_constants')):
        try:
            read(path)
        except OSError as error:
            assert str(error)  # noqa: PT017 (either it is read, or it is this)


@SETTINGS
@given(data=st.data())
def test_checkpoints_with_bytes_changed(tmp_path_factory, tiny_checkpoint, data):
    """A header, or an error that names the file; the size in the first bytes is believed within limits only."""
    raw = bytearray(tiny_checkpoint.read_bytes()[: data.draw(st.sampled_from([4096, 10**7]))])
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, min(len(raw) - 1, 3000)))
        raw[start : start + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    path = tmp_path_factory.getbasetemp() / 'changed.safetensors'
    path.write_bytes(bytes(raw))
    try:
        header = read_header(path)
    except CheckpointError as error:
        assert path.name in str(error)  # noqa: PT017 (either it has a header, or this)
    else:
        assert header.species


def test_a_tampered_checkpoint_ends_the_job_before_anything_is_computed(job, tiny_checkpoint):
    shutil.copyfile(tiny_checkpoint, job / 'potential.safetensors')
    raw = bytearray((job / 'potential.safetensors').read_bytes())
    raw[:8] = (2**62).to_bytes(8, 'little')
    (job / 'potential.safetensors').write_bytes(bytes(raw))
    assert run_job(job) == 3
    assert not (job / 'results').exists()
