"""``task: evaluate`` of ``mlfc-run``: the arrays are the direct derivatives, of dx and of MatterSim."""

import json
from shutil import copyfile

import numpy as np
import pytest
import torch

from aiida_mlfc.core.potentials.derivatives.energy_derivatives import energy_forces_stress
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.mattersim.calculator import DifferentiableMatterSimCalculator
from aiida_mlfc.core.potentials.registry import load_potential
from aiida_mlfc.core.potentials.relaxation.elastic import elastic_constants
from aiida_mlfc.exchange.arrays import read_arrays
from aiida_mlfc.exchange.results import read_result
from aiida_mlfc.runner.run import run_job

from ..core.potentials.mattersim.reference_values import TINY
from ..core.small_systems import small_crystals


@pytest.fixture
def crystals():
    crystals = small_crystals()
    return {'NaCl': crystals['rocksalt-rattled'], 'Si': crystals['diamond-rattled']}


@pytest.fixture(params=['dx', 'mattersim'])
def evaluated(request, make_job, tmp_path, crystals, tiny_checkpoint):
    """The potential, and the folder of a job that ended well."""
    folder = make_job(tmp_path, crystals, 'evaluate')
    path = tiny_checkpoint
    if request.param == 'mattersim':
        path = copyfile(TINY, folder / 'potential.pth')
        (folder / 'potential.safetensors').unlink()
        job = folder / 'job.yaml'
        job.write_text(job.read_text().replace('potential.safetensors', 'potential.pth'))
    assert run_job(folder) == 0
    return load_potential(path), folder


def test_arrays_are_the_direct_derivatives(evaluated, crystals):
    model, folder = evaluated
    for key, atoms in crystals.items():
        graph = build_graph(atoms, model.cutoff, model.species)
        arrays = read_arrays(folder / 'results' / key / 'arrays.hdf5')
        energy, forces, stress = energy_forces_stress(model, graph)
        assert arrays['energy'] == pytest.approx(energy.item(), abs=1e-10)
        np.testing.assert_allclose(arrays['forces'], forces, atol=1e-10)
        np.testing.assert_allclose(arrays['stress'], stress[0], atol=1e-9)
        np.testing.assert_array_equal(arrays['gradient_positions'], -arrays['forces'])
        assert arrays['gradient_lattice'].shape == (3, 3)
        assert arrays['gradient_atom_types'].shape == (len(atoms), len(model.species))
        np.testing.assert_array_equal(arrays['species'], model.species)
        data = read_result(folder, key)['data']
        assert data['energy'] == arrays['energy']
        assert data['max_force'] == np.abs(arrays['forces']).max() > 1e-3


def test_elastic_constants_on_request(make_job, tmp_path, crystals, silicon, tiny_checkpoint):
    """Those of the function, one crystal at a time whatever shares the batch; none where none were asked for."""
    model = load_potential(tiny_checkpoint)
    crystals = {**crystals, 'perfect': silicon}
    folder = make_job(tmp_path, crystals, 'evaluate', elastic=True)
    assert run_job(folder) == 0
    for key, atoms in crystals.items():
        arrays = read_arrays(folder / 'results' / key / 'arrays.hdf5')
        found = arrays['elastic_constants']
        np.testing.assert_allclose(found, elastic_constants(atoms, model), atol=1e-6 * np.abs(found).max())
    # cubic
    np.testing.assert_allclose(found[0, 0], [found[1, 1], found[2, 2]], rtol=1e-6)
    assert abs(found[3, 3]) > 1e-3
    other = make_job(tmp_path / 'other', {'Si': silicon}, 'evaluate')
    assert run_job(other) == 0
    assert 'elastic_constants' not in read_arrays(other / 'results' / 'Si' / 'arrays.hdf5')


def test_types_and_lattice_against_differences_of_whole_structures(evaluated, crystals):
    """Graphs built anew at every point; one atom made a little of another element."""
    model, folder = evaluated
    atoms = crystals['NaCl']
    arrays = read_arrays(folder / 'results' / 'NaCl' / 'arrays.hdf5')
    step = 1e-4

    def energy(cell=None, mixed=0.0):
        moved = atoms.copy()
        moved.set_cell(np.array(atoms.cell) + (0 if cell is None else cell), scale_atoms=False)
        graph = build_graph(moved, model.cutoff, model.species)
        graph.atom_types[1, list(model.species).index(13)] += mixed
        with torch.no_grad():
            return model(graph).item()

    slope = (energy(mixed=step) - energy(mixed=-step)) / (2 * step)
    column = arrays['species'].tolist().index(13)
    assert slope == pytest.approx(arrays['gradient_atom_types'][1, column], rel=1e-5)
    for k, c in ((0, 0), (1, 2), (2, 1)):
        change = np.zeros((3, 3))
        change[k, c] = step
        slope = (energy(change) - energy(-change)) / (2 * step)
        assert slope == pytest.approx(arrays['gradient_lattice'][k, c], rel=1e-5, abs=1e-7)


def test_mattersim_gradients_are_those_of_its_calculator(make_job, tmp_path, crystals):
    """The same partial derivatives as the calculator gives to tensors."""
    folder = make_job(tmp_path, crystals, 'evaluate')
    copyfile(TINY, folder / 'potential.safetensors')  # what it is is read from the file, not from its name
    assert run_job(folder) == 0
    atoms = crystals['NaCl']
    leaves = [
        torch.nn.functional.one_hot(torch.tensor(atoms.numbers), 95).double().requires_grad_(True),
        torch.tensor(np.array(atoms.cell), requires_grad=True),
        torch.tensor(atoms.positions, requires_grad=True),
    ]
    calculator = DifferentiableMatterSimCalculator(TINY)
    energy = calculator.predict_from_tensors(*leaves, soft_normalize=True)['total_energy']
    arrays = read_arrays(folder / 'results' / 'NaCl' / 'arrays.hdf5')
    names = ('gradient_atom_types', 'gradient_lattice', 'gradient_positions')
    for name, gradient in zip(names, torch.autograd.grad(energy, leaves), strict=True):
        np.testing.assert_allclose(arrays[name], gradient, atol=1e-9)


def test_refused_structures_and_options(make_job, tmp_path, crystals, silicon):
    doubled = silicon.copy()
    doubled.positions[1] = doubled.positions[0] + 0.1
    folder = make_job(tmp_path, {'doubled': doubled, 'good': silicon}, 'evaluate')
    assert run_job(folder) == 4
    assert 'two atoms on one site' in read_result(folder, 'doubled')['error']['message']
    assert json.loads((folder / 'results.json').read_text())['failed'] == ['doubled']
    assert run_job(make_job(tmp_path / 'other', crystals, 'evaluate', symprec=1e-4)) == 2


def test_float32(make_job, tmp_path, crystals):
    """Stored as float64 whatever it was computed in."""
    folders = [make_job(tmp_path / dtype, crystals, 'evaluate', dtype=dtype) for dtype in ('float64', 'float32')]
    assert [run_job(folder) for folder in folders] == [0, 0]
    double, single = (read_arrays(folder / 'results' / 'Si' / 'arrays.hdf5') for folder in folders)
    for name in double.keys() - {'species', 'energy'}:
        assert single[name].dtype == np.float64
        assert 0 < np.abs(single[name] - double[name]).max() < 1e-4 * max(1, np.abs(double[name]).max())
