"""``mlfc-run`` from job folder to results: exit codes, restart, interruption at any moment, a full disk."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import phonopy
import pytest
import yaml
from ase.build import bulk

from aiida_mlfc.core.checkpoint_header import sha256_of
from aiida_mlfc.exchange.job import fingerprint, read_job
from aiida_mlfc.exchange.results import read_result
from aiida_mlfc.runner.force_constants import compute_force_constants
from aiida_mlfc.runner.plan import Plan, Refused
from aiida_mlfc.runner.run import run_job

COMMAND = [sys.executable, '-m', 'aiida_mlfc.runner.run']


@pytest.fixture
def crystals(silicon, rocksalt):
    return {'Si': silicon, 'NaCl': rocksalt}


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """When and as which file each result was written: both change if it is computed again."""
    found = (folder / 'results').glob('[A-Za-z]*/result.json')
    return {path.parent.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def force_constants(folder: Path, key: str) -> np.ndarray:
    with h5py.File(folder / 'results' / key / 'force_constants.hdf5') as handle:
        return handle['force_constants'][...]


def test_results_are_those_of_the_python_call(tmp_path, make_job, crystals, tiny_checkpoint):
    assert run_job(make_job(tmp_path, crystals)) == 0
    for key, atoms in crystals.items():
        wanted = compute_force_constants(atoms, [2, 2, 2], str(tiny_checkpoint), symprec=1e-4)
        np.testing.assert_allclose(force_constants(tmp_path, key), wanted.array, atol=1e-13)
        result = read_result(tmp_path, key)
        assert result['name'] == f'crystal {key}'
        assert result['data']['n_supercell_atoms'] == 16
        assert result['data']['quality']['method'] == 'autograd'
        assert result['data']['quality']['acoustic_sum_residual'] < 1e-12
    summary = json.loads((tmp_path / 'results.json').read_text())
    assert summary['keys'] == ['Si', 'NaCl']
    assert summary['failed'] == []


def test_phonopy_opens_the_results(tmp_path, make_job, crystals, tiny_checkpoint):
    run_job(make_job(tmp_path, crystals))
    for key, atoms in crystals.items():
        folder = tmp_path / 'results' / key
        loaded = phonopy.load(
            folder / 'phonopy.yaml',
            force_constants_filename=folder / 'force_constants.hdf5',
            symmetrize_fc=False,
            log_level=0,
        )
        direct = compute_force_constants(atoms, [2, 2, 2], str(tiny_checkpoint)).to_phonopy()
        qpoints = [[0, 0, 0], [0.5, 0, 0.5], [0.11, 0.23, 0.37]]
        # squares: at Γ the root turns rounding of 1e-15 into 1e-7
        np.testing.assert_allclose(
            loaded.run_qpoints(qpoints).frequencies[1:], direct.run_qpoints(qpoints).frequencies[1:], atol=1e-9
        )
        assert np.abs(loaded.qpoints.frequencies).max() > 0.1


def test_second_run_computes_nothing_and_needs_no_torch(tmp_path, make_job, crystals, monkeypatch, capsys):
    assert run_job(make_job(tmp_path, crystals)) == 0
    before = stamps(tmp_path)
    monkeypatch.setitem(sys.modules, 'aiida_mlfc.core.potentials.registry', None)
    assert run_job(tmp_path) == 0
    assert stamps(tmp_path) == before
    assert '2 structures, 2 done already' in capsys.readouterr().err


@pytest.mark.parametrize('change', ['structure', 'option', 'potential'])
def test_what_changed_is_computed_again_and_only_that(tmp_path, make_job, crystals, change):
    folder = make_job(tmp_path, crystals)
    run_job(folder)
    before = stamps(folder)
    if change == 'structure':
        make_job(folder, crystals | {'Si': bulk('Si', 'diamond', a=5.5)})
    elif change == 'option':
        make_job(folder, crystals, symprec=1e-3)
    else:
        from aiida_mlfc.core.potentials.checkpoints import load_dx, save_dx

        model = load_dx(folder / 'potential.safetensors')
        model.metadata['note'] = 'another file'
        save_dx(model, folder / 'potential.safetensors')
    assert run_job(folder) == 0
    again = {key for key, stamp in stamps(folder).items() if stamp != before[key]}
    assert again == ({'Si'} if change == 'structure' else {'Si', 'NaCl'})


@pytest.mark.parametrize('change', ['structure', 'option'])
def test_results_of_other_jobs_are_gone_before_the_work_begins(tmp_path, make_job, crystals, change, monkeypatch):
    """A job that goes no further than its potential: what lies there afterwards is of this job, or nothing."""
    folder = make_job(tmp_path, crystals)
    assert run_job(folder) == 0
    if change == 'structure':
        make_job(folder, crystals | {'Si': bulk('Si', 'diamond', a=5.5)})
    else:
        make_job(folder, crystals, symprec=1e-3)

    def refused(plan):
        raise Refused(3, 'potential: no device')

    monkeypatch.setattr(Plan, 'load_model', refused)
    assert run_job(folder) == 3
    assert set(stamps(folder)) == ({'NaCl'} if change == 'structure' else set())
    assert not (folder / 'results.json').exists()
    monkeypatch.undo()
    assert run_job(folder) == 0
    assert set(stamps(folder)) == {'Si', 'NaCl'}


def test_bad_ones_do_not_take_the_good_ones_with_them(tmp_path, make_job, silicon, rocksalt, capsys):
    doubled = rocksalt.copy()
    doubled.positions[1] = doubled.positions[0] + 0.05
    flat = silicon.copy()
    flat.cell[2] = flat.cell[0] + flat.cell[1]
    folder = make_job(
        tmp_path,
        {
            'good': silicon,
            'unknown': bulk('Fe', 'bcc', a=2.87),
            'doubled': doubled,
            'flat': flat,
            'garbage': silicon,
            'good2': rocksalt,
        },
    )
    (folder / 'inputs' / 'garbage.hdf5').write_bytes(b'garbage')
    assert run_job(folder) == 4
    wanted = {
        'unknown': 'does not know Fe',
        'doubled': 'two atoms on one site',
        'flat': 'is the lattice missing',
        'garbage': 'cannot be read',
    }
    error_output = capsys.readouterr().err
    for key, message in wanted.items():
        result = read_result(folder, key)
        assert result['status'] == 'failed'
        assert message in result['error']['message']
        assert 'Traceback' in result['error']['traceback']
        assert 'Traceback' not in error_output
        assert message in error_output
    assert [key for key in ('good', 'good2') if read_result(folder, key)['status'] == 'ok'] == ['good', 'good2']
    assert json.loads((folder / 'results.json').read_text())['failed'] == list(wanted)
    before = stamps(folder)
    assert run_job(folder) == 4
    assert stamps(folder) == before


def test_supercells_beyond_the_limit_are_that_structures_failure(tmp_path, make_job, silicon):
    folder = make_job(tmp_path, {'Si': silicon}, supercell_length=10.0, max_atoms=20)
    assert run_job(folder) == 4
    assert 'wanted at most 20' in read_result(folder, 'Si')['error']['message']


@pytest.mark.parametrize(
    'change',
    [
        {'task': 'cook'},
        {'schema_version': 99},
        {'options': {'methd': 'autograd'}},
        {'options': {'symprec': 'small'}},
        {'options': {'max_atoms': True}},
        {'structures': {'absent': {'name': 'x'}}},
        {'structures': {'../x': {'name': 'x'}}},
    ],
    ids=str,
)
def test_bad_job(tmp_path, make_job, silicon, change, capsys):
    folder = make_job(tmp_path, {'Si': silicon})
    content = yaml.safe_load((folder / 'job.yaml').read_text()) | change
    (folder / 'job.yaml').write_text(yaml.safe_dump(content))
    assert run_job(folder) == 2
    assert capsys.readouterr().err.startswith('mlfc-run: ')
    assert not (folder / 'results').exists()


def test_no_job(tmp_path):
    assert run_job(tmp_path) == 2
    assert run_job(tmp_path / 'absent') == 2


@pytest.mark.parametrize('content', [None, b'', b'garbage' * 10, b'\x10' + bytes(7) + b'{"a":{}}        '])
def test_bad_potential(tmp_path, make_job, silicon, content, capsys):
    folder = make_job(tmp_path, {'Si': silicon})
    if content is None:
        (folder / 'potential.safetensors').unlink()
    else:
        (folder / 'potential.safetensors').write_bytes(content)
    assert run_job(folder) == 3
    assert 'mlfc-run: potential: ' in capsys.readouterr().err
    assert not (folder / 'results').exists()


def test_no_potential_where_one_is_needed(tmp_path, make_job, silicon):
    folder = make_job(tmp_path, {'Si': silicon})
    content = yaml.safe_load((folder / 'job.yaml').read_text()) | {'potential': None}
    (folder / 'job.yaml').write_text(yaml.safe_dump(content))
    assert run_job(folder) == 2


@pytest.mark.parametrize('options', [{'dtype': 'float16'}, {'device': 'toaster'}], ids=str)
def test_dtype_and_device_that_do_not_exist(tmp_path, make_job, silicon, options):
    assert run_job(make_job(tmp_path, {'Si': silicon}, **options)) == 3


def test_relax_task(tmp_path, make_job, silicon):
    assert run_job(make_job(tmp_path, {'Si': silicon}, 'relax')) == 0
    data = read_result(tmp_path, 'Si')['data']
    assert data['spacegroup_before'] == data['spacegroup_after'] == 'Fd-3m (227)'
    assert data['max_force'] < 1e-6
    assert data['optimiser'] == 'newton'
    assert data['fallback'] is None
    assert data['n_gradient_evaluations'] == data['n_steps'] + 1


def test_relax_task_with_the_optimiser_that_was_asked_for(tmp_path, make_job):
    wurtzite = bulk('NaCl', 'wurtzite', a=4.6, c=7.4, u=0.38)
    # random weights: a landscape, but no crystal
    assert run_job(make_job(tmp_path, {'NaCl': wurtzite}, 'relax', optimizer='bfgs', fmax=0.1)) == 0
    data = read_result(tmp_path, 'NaCl')['data']
    assert data['optimiser'] == 'bfgs'
    assert data['n_hessian_products'] == 0


def test_optimiser_that_does_not_exist(tmp_path, make_job, silicon):
    assert run_job(make_job(tmp_path, {'Si': silicon}, 'relax', optimizer='magic')) == 4
    assert "wanted 'newton' or 'bfgs'" in read_result(tmp_path, 'Si')['error']['message']


def start(folder: Path, **keywords) -> subprocess.Popen:
    return subprocess.Popen([*COMMAND, str(folder)], stderr=subprocess.PIPE, text=True, **keywords)


def run_to_the_end(folder: Path) -> list[str]:
    """Run in a process of its own; its progress lines."""
    process = start(folder)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return [line for line in errors.splitlines() if line.startswith('[')]


def test_killed_at_any_moment(tmp_path, make_job, silicon, rocksalt):
    """SIGKILL and SIGTERM while it computes, then on to the end: same bits, nothing twice, nothing half."""
    crystals = {f'Si{k}': bulk('Si', 'diamond', a=5.40 + 0.01 * k) for k in range(4)}
    crystals |= {f'NaCl{k}': bulk('NaCl', 'rocksalt', a=5.60 + 0.01 * k) for k in range(4)}
    whole = make_job(tmp_path / 'whole', crystals, supercell_matrix=[3, 3, 3])
    assert run_job(whole) == 0

    broken = make_job(tmp_path / 'broken', crystals, supercell_matrix=[3, 3, 3])
    seen: dict[str, tuple[int, int]] = {}
    interrupted = []
    for signum in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        process = start(broken)
        for line in process.stderr:
            if line.startswith('['):
                break
        time.sleep(random.uniform(0, 0.15))
        process.send_signal(signum)
        errors = process.stderr.read()
        process.wait(timeout=60)
        process.stderr.close()
        now = stamps(broken)
        assert seen.items() < now.items()
        seen = now
        if len(seen) == len(crystals):
            break
        interrupted.append(signum)
        assert process.returncode == (143 if signum == signal.SIGTERM else -signum)
        assert not (broken / 'results.json').exists()
        assert ('stopped by SIGTERM' in errors) == (signum == signal.SIGTERM)
    assert interrupted
    assert len(run_to_the_end(broken)) == len(crystals) - len(seen)
    final = stamps(broken)
    assert seen.items() <= final.items()
    for key in crystals:
        np.testing.assert_array_equal(force_constants(broken, key).view('u1'), force_constants(whole, key).view('u1'))
    assert sorted(os.listdir(broken / 'results')) == sorted(crystals)


def test_killed_between_files(tmp_path, make_job, crystals, monkeypatch):
    """Stopped inside a commit: the half-written folder has another name, and is swept away by the next run."""
    folder = make_job(tmp_path, crystals)
    monkeypatch.setattr('aiida_mlfc.exchange.results.os.replace', lambda *names: sys.exit(137))
    with pytest.raises(SystemExit):
        run_job(folder)
    assert sorted(p.name for p in (folder / 'results').iterdir()) == ['.Si.partial', '.running']
    monkeypatch.undo()
    assert run_job(folder) == 0
    assert sorted(p.name for p in (folder / 'results').iterdir()) == ['NaCl', 'Si']


@pytest.mark.parametrize('limit', [3_000, 9_000])
def test_full_disk(tmp_path, make_job, silicon, rocksalt, limit):
    """No file may grow beyond a limit, at first that of the force constants, then that of the text beside them."""
    folder = make_job(tmp_path, {'first': silicon, 'second': rocksalt})
    from aiida_mlfc.exchange.results import write_result

    first = {
        'status': 'ok',
        'fingerprint': fingerprint(folder, read_job(folder), 'first', sha256_of(folder / 'potential.safetensors')),
    }
    write_result(folder, 'first', first)
    before = stamps(folder)
    process = start(folder, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 5, errors
    assert 'results cannot be written' in errors
    assert 'Traceback' not in errors
    assert stamps(folder) == before
    assert not (folder / 'results.json').exists()
    assert run_job(folder) == 0
    assert set(stamps(folder)) == {'first', 'second'}


def test_terminated_before_the_first_structure(tmp_path, make_job, silicon):
    process = start(make_job(tmp_path, {'Si': silicon}))
    assert 'done already' in process.stderr.readline()
    process.terminate()
    assert process.wait(timeout=60) == 143
    process.stderr.close()
