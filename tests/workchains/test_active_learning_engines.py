"""One set of DFT inputs for all crystals of a loop: what each crystal takes of it, and what is kept of its origin."""

import numpy as np
import pytest
from aiida.common import AttributeDict
from aiida.engine import run_get_node
from aiida.orm import Dict, Float, KpointsData, List, StructureData
from ase.build import bulk

pytest.importorskip('aiida_quantumespresso', reason='aiida-quantumespresso is not installed')

from aiida_mlfc.calculations.active_learning import error_where_asked
from aiida_mlfc.calculations.references import kpoints_for_distance, relaxation_kpoints
from aiida_mlfc.data.force_sets import force_set_input
from aiida_mlfc.data.references import all_references
from aiida_mlfc.workchains.active_learning import ActiveLearningWorkChain
from aiida_mlfc.workchains.active_learning_engines import fill_dft_reference, inputs_of_crystal
from aiida_mlfc.workchains.ase_reference import AseReferenceWorkChain

from .test_dft_reference_inputs import CUTOFFS, make_family  # noqa: F401 (a fixture)

SILICON, MAGNESIA = bulk('Si', 'diamond', a=5.388), bulk('MgO', 'rocksalt', a=4.187)


@pytest.fixture
def pw(aiida_code_installed):
    """Never run; under a label of its own, for other files of the session find real ones by theirs."""
    return aiida_code_installed(label='pw-never-run', default_calc_job_plugin='quantumespresso.pw')


@pytest.fixture
def builder(pw, make_family, mlfc_code, make_structure):  # noqa: F811 (the fixture)
    nodes = {'si': make_structure(SILICON), 'mgo': make_structure(MAGNESIA, 'magnesia')}
    found = ActiveLearningWorkChain.get_builder_from_protocol(mlfc_code, nodes)
    found.supercell_length = Float(4.5)
    fill_dft_reference(found, pw, make_family('engines'), protocol='fast', overrides=CUTOFFS, relax_type='positions')
    return found


def test_inputs_for_all(builder):
    """Pseudopotentials of every crystal, thresholds of the smallest cell, nothing that belongs to one of them."""
    inputs = builder.dft_reference
    for pw in (inputs.scf.pw, inputs.relax.base_relax.pw):
        assert {kind: upf.element for kind, upf in pw.pseudos.items()} == {'Si': 'Si', 'Mg': 'Mg', 'O': 'O'}
        assert pw.parameters['SYSTEM']['ecutwfc'] == CUTOFFS['cutoff_wfc']
    # 4.5 Å: 16 atoms each; the protocol's 1e-10 Ry an atom
    assert inputs.scf.pw.parameters['ELECTRONS']['conv_thr'] == pytest.approx(16e-10)
    assert inputs.relax.base_relax.pw.parameters['ELECTRONS']['conv_thr'] == pytest.approx(2e-10)
    assert 'structure' not in inputs
    assert 'ph' not in inputs._inputs(prune=True)
    with pytest.raises(ValueError, match='follows for each crystal from supercell_length'):
        fill_dft_reference(builder, None, '', overrides={'supercell_matrix': [1, 1, 1]})


def test_elements_that_substitution_brings(builder, pw, make_family):  # noqa: F811
    builder.structures = {'si': builder.structures['si']}
    settings = {'protocol': 'fast', 'overrides': CUTOFFS}
    fill_dft_reference(builder, pw, make_family('engines'), elements=['Si', 'O'], **settings)
    assert set(builder.dft_reference.scf.pw.pseudos) == {'Si', 'O'}


def test_inputs_of_one(builder):
    """pw.x refuses pseudopotentials of elements that a crystal does not hold."""
    for key, kinds in (('si', {'Si'}), ('mgo', {'Mg', 'O'})):
        common = AttributeDict(builder.dft_reference._inputs(prune=True))
        common.setdefault('information', Dict({'licence': 'mine'}))
        inputs = inputs_of_crystal(common, builder.structures[key], key, 4.5)
        assert set(inputs.scf.pw.pseudos) == set(inputs.relax.base_relax.pw.pseudos) == kinds
        assert inputs.supercell_matrix.get_list() == np.diag([2, 2, 2]).tolist()
        assert inputs.information.get_dict() == {'name': {'mgo': 'magnesia'}.get(key, key), 'licence': 'mine'}
    assert set(builder.dft_reference.scf.pw.pseudos) == {'Si', 'Mg', 'O'}


def test_relaxation_has_the_k_points_of_the_supercell(aiida_profile):
    structure = StructureData(ase=SILICON)
    supercell = StructureData(ase=SILICON.repeat((2, 2, 1)))
    matrix, distance, offset = List(np.diag([2, 2, 1]).tolist()), Float(0.51), List([0.5, 0.5, 0.5])

    def unfolded(kpoints):
        """Of the supercell, in its own reciprocal vectors, modulo those of the supercell."""
        mesh, shift = kpoints.get_kpoints_mesh()
        points = (np.stack(np.meshgrid(*map(np.arange, mesh), indexing='ij'), -1).reshape(-1, 3) + shift) / mesh
        return points

    def folded(kpoints):
        return {tuple(np.round(point * [2, 2, 1] % 1 % 1, 6)) for point in unfolded(kpoints)}

    def of_supercell(kpoints):
        return {tuple(np.round(point % 1, 6)) for point in unfolded(kpoints)}

    by_distance = kpoints_for_distance(supercell, distance, offset)
    found = relaxation_kpoints(structure, matrix, distance, offset)
    assert folded(found) == of_supercell(by_distance)
    given = KpointsData()
    given.set_kpoints_mesh([3, 2, 1], offset=[0.5, 0.0, 0.0])
    found = relaxation_kpoints(structure, matrix, distance, offset, given)
    assert found.get_kpoints_mesh() == ([6, 4, 1], [0.5, 0.0, 0.0])
    assert folded(found) == of_supercell(given)
    # a supercell that is not diagonal has no such mesh
    cubic = List([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])
    mesh, shift = relaxation_kpoints(structure, cubic, distance, offset).get_kpoints_mesh()
    assert (mesh, shift) == ([4, 4, 4], [0.5, 0.5, 0.5])


@pytest.fixture
def copper(aiida_profile_clean):
    def _reference(a):
        builder = AseReferenceWorkChain.get_builder_from_protocol(
            StructureData(ase=bulk('Cu', 'fcc', a=a), label='copper'),
            {'module': 'ase.calculators.emt', 'name': 'EMT', 'arguments': {}},
            overrides={'supercell_matrix': [2, 2, 2]},
            functional='EMT',
        )
        # aiida-phonopy takes no bool
        builder.displacement_generator = Dict({'distance': 0.01, 'is_plusminus': False})
        outputs, node = run_get_node(builder)
        assert node.is_finished_ok, node.exit_message
        return outputs

    return _reference


def test_forces_say_where_they_come_from(copper):
    """A training refuses to mix functionals only where they are stated; and the reference is listed once."""
    outputs = copper(3.59)
    found = force_set_input(outputs['phonopy_data'])
    assert '"functional": "EMT"' in found['source']
    assert '"name": "copper"' in found['source']
    assert [node.uuid for node in all_references()] == [outputs['force_constants'].uuid]
    assert outputs['force_constants'].creator.inputs.phonopy_data.uuid == outputs['phonopy_data'].uuid
    # the loop begins with either, as a training does
    ActiveLearningWorkChain.get_builder().force_sets = {k: outputs[k] for k in ('phonopy_data', 'force_constants')}


def test_error_where_asked(copper):
    """Frequencies at the wave vectors of the reference's supercell."""
    one, other = (copper(a)['force_constants'] for a in (3.59, 3.64))
    assert error_where_asked(predicted=one, computed=one).get_dict() == {'frequency_rms': 0.0, 'frequency_max': 0.0}
    found = error_where_asked(predicted=one, computed=other).get_dict()
    at_x = [np.array(node.get_phonopy_instance().run_qpoints([[0.5, 0.5, 0]]).frequencies)[0] for node in (one, other)]
    assert found['frequency_max'] >= np.abs(at_x[0] - at_x[1]).max() > 0.1
    assert 0 < found['frequency_rms'] < found['frequency_max']
