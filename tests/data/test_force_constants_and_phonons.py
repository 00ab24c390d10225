"""Force constants and phonons as nodes: other plugins read them, and the record comes back from them unchanged."""

import dataclasses

import numpy as np
import pytest
from aiida.orm import StructureData, load_node
from phonopy.harmonic.force_constants import compact_fc_to_full_fc

from aiida_mlfc.core.phonons.analysis import analyse
from aiida_mlfc.core.structures.cells import to_phonopy
from aiida_mlfc.core.units import COULOMB_EV_ANGSTROM
from aiida_mlfc.data.force_constants import force_constants_node, phonon_inputs
from aiida_mlfc.data.nac import nac_params_node, read_born
from aiida_mlfc.data.phonons import OUTPUTS, phonon_nodes, phonon_record
from aiida_mlfc.exchange.arrays import read_arrays, write_arrays
from aiida_mlfc.exchange.job import structure_from_arrays
from aiida_mlfc.runner.force_constants import compute_force_constants
from aiida_mlfc.runner.options import PhononOptions
from aiida_mlfc.runner.tasks import run_phonons

BORN = np.array([1.1 * np.eye(3), -1.1 * np.eye(3)])
QPOINTS = [[0.1, 0.2, 0.3], [0.5, 0.0, 0.5]]


@pytest.fixture(scope='module')
def computed(rocksalt, tiny_checkpoint):
    nac = {'born': BORN, 'dielectric': 2.3 * np.eye(3), 'factor': COULOMB_EV_ANGSTROM}
    return compute_force_constants(rocksalt, [2, 2, 2], str(tiny_checkpoint), nac_params=nac)


@pytest.fixture
def node(computed, make_structure, rocksalt):
    data = {
        'supercell_matrix': computed.supercell_matrix,
        'primitive_matrix': computed.primitive_matrix,
        'symprec': computed.symprec,
        'quality': computed.quality.to_dict(),
    }
    nac = nac_params_node(BORN, 2.3 * np.eye(3)).store()
    return force_constants_node(make_structure(rocksalt), computed.array, data, nac).store()


def test_aiida_phonopy_reads_the_node(node, computed):
    """Its own accessor builds a Phonopy with symmetry, Born charges and the same frequencies."""
    theirs = load_node(node.uuid).get_phonopy_instance()
    theirs.force_constants = node.get_array('force_constants')
    ours = computed.to_phonopy()
    np.testing.assert_allclose(
        theirs.run_qpoints(QPOINTS).frequencies, ours.run_qpoints(QPOINTS).frequencies, atol=1e-8
    )
    np.testing.assert_allclose(theirs.nac_params['born'], BORN, atol=1e-12)
    np.testing.assert_array_equal(theirs.supercell_matrix, computed.supercell_matrix)
    assert len(theirs.symmetry.symmetry_operations['rotations']) == 48 * 8
    assert np.abs(ours.run_qpoints(QPOINTS).frequencies).max() > 0.1


def test_isotopes_live_in_the_node(computed, make_structure, rocksalt):
    """As kinds of the structure; what AiiDA makes of an element is no isotope."""
    data = {
        'supercell_matrix': computed.supercell_matrix,
        'primitive_matrix': computed.primitive_matrix,
        'symprec': computed.symprec,
        'quality': computed.quality.to_dict(),
    }
    heavy = rocksalt.copy()
    heavy.set_masses([30.0, 40.0])
    found = {}
    for name, atoms in (('heavy', heavy), ('natural', rocksalt)):
        node = load_node(force_constants_node(make_structure(atoms), computed.array, data).store().uuid)
        found[name] = phonon_inputs(node)['structure']
        theirs = node.get_phonopy_instance().primitive.masses
        np.testing.assert_allclose(theirs, to_phonopy(atoms).masses, rtol=1e-4)
    assert found['heavy']['masses'].tolist() == [30.0, 40.0]
    assert 'masses' not in found['natural']


def test_kinds_with_names_of_their_own_are_the_elements_they_are(computed, rocksalt):
    """aiida-phonopy numbers such kinds 1, 2...: hydrogen and helium to whoever takes them for elements."""
    structure = StructureData(cell=np.array(rocksalt.cell).tolist())
    for name, atom in zip(('Na1', 'Cl'), rocksalt, strict=True):
        structure.append_atom(position=atom.position, symbols=atom.symbol, name=name)
    data = {
        'supercell_matrix': computed.supercell_matrix,
        'primitive_matrix': computed.primitive_matrix,
        'symprec': computed.symprec,
        'quality': computed.quality.to_dict(),
    }
    node = force_constants_node(structure.store(), computed.array, data).store()
    atoms = structure_from_arrays(phonon_inputs(load_node(node.uuid))['structure'])
    assert atoms == rocksalt


def test_node_and_back(node, computed):
    values = phonon_inputs(load_node(node.uuid))
    given = values['force_constants']
    np.testing.assert_array_equal(given['array'], computed.array)
    np.testing.assert_array_equal(given['supercell_matrix'], computed.supercell_matrix)
    np.testing.assert_allclose(given['primitive_matrix'], computed.primitive_matrix)
    # AiiDA keeps 14 digits of the numbers in attributes
    for name, value in computed.quality.to_dict().items():
        assert given['quality'][name] == (pytest.approx(value, rel=1e-12) if isinstance(value, float) else value)
    assert given['symprec'] == computed.symprec
    np.testing.assert_allclose(values['nac_params']['born'], BORN)
    np.testing.assert_allclose(values['structure']['positions'], computed.unitcell.positions)


@pytest.mark.parametrize(
    'array',
    [np.zeros((2, 8, 3, 3)), np.zeros((16, 16, 3, 3)), np.full((2, 16, 3, 3), np.nan)],
    ids=['small', 'full', 'nan'],
)
def test_arrays_that_do_not_fit(make_structure, rocksalt, array):
    data = {'supercell_matrix': 2 * np.eye(3, dtype=int), 'primitive_matrix': np.eye(3), 'symprec': 1e-5, 'quality': {}}
    with pytest.raises(ValueError, match=r'wanted \(2, 16, 3, 3\) and finite numbers'):
        force_constants_node(make_structure(rocksalt), array, data)


def assert_equal(got, wanted):
    if dataclasses.is_dataclass(wanted):
        for field in dataclasses.fields(wanted):
            assert_equal(getattr(got, field.name), getattr(wanted, field.name))
    elif isinstance(wanted, (np.ndarray, float, tuple)):
        # the three zero modes at Γ are roots of rounding
        np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-6)
    else:
        assert [list(x) for x in got] == [list(x) for x in wanted] if isinstance(wanted, list) else got == wanted


def test_phonons_to_files_to_nodes_to_record(node, computed, tmp_path):
    """The way of every number in a report, step by step, against the record that ``analyse`` gave."""
    write_arrays(tmp_path / 'input.hdf5', phonon_inputs(node))
    inputs = read_arrays(tmp_path / 'input.hdf5')
    data, write_files = run_phonons(inputs, PhononOptions(mesh_length=20.0, points_per_segment=7), None)
    write_files(tmp_path)
    nodes = phonon_nodes(read_arrays(tmp_path / 'arrays.hdf5'), _json(data), np.array(computed.unitcell.cell))
    assert set(nodes) == set(OUTPUTS)
    stored = {name: load_node(value.store().uuid) for name, value in nodes.items()}
    assert_equal(phonon_record(stored), analyse(computed, 20.0, points_per_segment=7))
    assert stored['phonon_bands'].units == 'THz'
    assert stored['stability']['with_nac'] is True


def _json(data):
    import json

    from aiida_mlfc.exchange.results import plain

    return json.loads(json.dumps(plain(data)))


def test_born_file(tmp_path, rocksalt):
    (tmp_path / 'BORN').write_text(
        '14.4\n2.3 0 0 0 2.3 0 0 0 2.3\n1.1 0 0 0 1.1 0 0 0 1.1\n-1.1 0 0 0 -1.1 0 0 0 -1.1\n'
    )
    found = read_born(tmp_path / 'BORN', rocksalt, 1e-5)
    np.testing.assert_allclose(found.get_array('born'), BORN, atol=1e-12)
    np.testing.assert_allclose(found.get_array('dielectric'), 2.3 * np.eye(3))
    for content in ('', 'garbage', '14.4\n2.3 0 0 0 2.3 0 0 0 2.3\n'):
        (tmp_path / 'BORN').write_text(content)
        with pytest.raises(ValueError, match='BORN does not fit'):
            read_born(tmp_path / 'BORN', rocksalt, 1e-5)


@pytest.mark.parametrize('full', [False, True])
def test_force_constants_of_others(full, make_structure, rocksalt, computed):
    """Made by aiida-phonopy itself: no quality record, so it is measured here."""
    from aiida_phonopy.data import ForceConstantsData

    theirs = ForceConstantsData(
        structure=make_structure(rocksalt),
        supercell_matrix=computed.supercell_matrix.tolist(),
        primitive_matrix=computed.primitive_matrix.tolist(),
    )
    array = computed.array
    if full:
        array = compact_fc_to_full_fc(computed.to_phonopy().primitive, array)
    theirs.set_force_constants(array)
    values = phonon_inputs(theirs.store())
    np.testing.assert_allclose(values['force_constants']['array'], computed.array, atol=1e-12)
    assert values['force_constants']['quality']['method'] == 'unknown'
    assert values['force_constants']['quality']['acoustic_sum_residual'] < 1e-10
