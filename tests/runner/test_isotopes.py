"""Masses that are set hold all the way: ω goes as 1/√m, whatever the crystal went through."""

import numpy as np
import pytest
from ase.build import bulk

from aiida_mlfc import compute_force_constants, dynamical_matrices
from aiida_mlfc.core.potentials.relaxation.goal import NotConvergedError
from aiida_mlfc.core.potentials.relaxation.relax import relax
from aiida_mlfc.core.structures.cells import to_phonopy
from aiida_mlfc.core.structures.checks import StructureError
from aiida_mlfc.core.structures.symmetry import primitive_cell
from aiida_mlfc.exchange.arrays import read_arrays
from aiida_mlfc.exchange.job import structure_arrays, structure_from_arrays
from aiida_mlfc.runner.bloch_phases import frequencies
from aiida_mlfc.runner.options import ForceConstantsOptions, PhononOptions, RelaxOptions
from aiida_mlfc.runner.tasks import run_force_constants, run_phonons, run_relax

from ..core.small_systems import EmbeddedAtoms

HEAVY = 4.0
QPOINTS = np.array([[0.5, 0.0, 0.0], [0.5, 0.5, 0.0]])


@pytest.fixture
def natural():
    return bulk('Si', 'diamond', a=5.43)


@pytest.fixture
def heavy(natural):
    """Every mass four times what it is: every frequency half."""
    natural.set_masses(HEAVY * to_phonopy(natural).masses)
    return natural


def test_all_ways_to_frequencies_see_them(heavy):
    wanted = compute_force_constants(bulk('Si', 'diamond', a=5.43), [2, 2, 2], EmbeddedAtoms()).to_phonopy()
    wanted = wanted.run_qpoints(QPOINTS).frequencies / np.sqrt(HEAVY)
    for structure in (heavy, to_phonopy(heavy)):
        found = compute_force_constants(structure, [2, 2, 2], EmbeddedAtoms())
        for phonon in (found.to_phonopy(), found.for_frequencies()):
            np.testing.assert_allclose(phonon.run_qpoints(QPOINTS).frequencies, wanted, atol=1e-9)
        exact = frequencies(dynamical_matrices(structure, QPOINTS, EmbeddedAtoms()))
        np.testing.assert_allclose(exact, wanted, atol=1e-6)
    assert np.abs(wanted).max() > 1


def test_from_job_to_result(heavy, tmp_path):
    """Relaxed, differentiated and analysed as ``mlfc-run`` does it, through the arrays it writes."""
    found = {}
    for name, atoms in (('heavy', heavy), ('natural', bulk('Si', 'diamond', a=5.43))):
        given = {'structure': structure_arrays(atoms)}
        for task, options in (
            (run_relax, RelaxOptions(relax_cell=False)),
            (run_force_constants, ForceConstantsOptions(supercell_matrix=[2, 2, 2], truncation_qpoints=0)),
        ):
            folder = tmp_path / name / task.__name__
            folder.mkdir(parents=True)
            data, write_files = task(given, options, EmbeddedAtoms())
            write_files(folder)
            given = {'structure': read_arrays(folder / 'arrays.hdf5')['structure']}
        array = compute_force_constants(structure_from_arrays(given['structure']), [2, 2, 2], EmbeddedAtoms()).array
        keys = ('supercell_matrix', 'primitive_matrix', 'symprec', 'quality')
        given['force_constants'] = {'array': array, **{key: data[key] for key in keys}}
        found[name] = run_phonons(given, PhononOptions(mesh_length=20.0, points_per_segment=5), None)[0]
    assert found['natural']['max_frequency'] > 1
    ratio = found['natural']['max_frequency'] / found['heavy']['max_frequency']
    assert ratio == pytest.approx(np.sqrt(HEAVY), rel=1e-9)


@pytest.mark.parametrize('optimizer', ['newton', 'bfgs'])
def test_relaxation_keeps_them(heavy, optimizer):
    heavy.positions[0] += [0.02, 0.0, 0.0]
    assert relax(heavy, EmbeddedAtoms(), optimizer=optimizer).atoms.get_masses().tolist() == heavy.get_masses().tolist()
    with pytest.raises(NotConvergedError) as caught:
        relax(heavy, EmbeddedAtoms(), optimizer=optimizer, steps=0)
    assert caught.value.atoms.get_masses().tolist() == heavy.get_masses().tolist()


def test_what_would_lose_them_refuses(heavy):
    with pytest.raises(StructureError, match='masses other than'):
        primitive_cell(heavy)
    heavy.set_masses(bulk('Si').get_masses())
    assert len(primitive_cell(heavy)) == 2
