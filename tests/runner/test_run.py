"""``mlfc-run`` from job folder to results: exit codes, restart, bad jobs."""

import json
import sys

import numpy as np
import phonopy
import pytest
import yaml
from ase.build import bulk

from aiida_mlfc.exchange.results import read_result
from aiida_mlfc.runner.force_constants import compute_force_constants
from aiida_mlfc.runner.plan import Plan, Refused
from aiida_mlfc.runner.run import run_job

from .results_on_disk import force_constants, stamps


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
