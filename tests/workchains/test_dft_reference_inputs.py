"""Inputs of ``mlfc.dft_reference``: frozen protocols, refusals, k-point meshes."""

from io import BytesIO

import numpy as np
import pytest
from aiida.engine import run_get_node
from aiida.orm import Float, List, StructureData
from ase.build import bulk

pytest.importorskip('aiida_quantumespresso', reason='aiida-quantumespresso is not installed')

from aiida_pseudo.data.pseudo import UpfData
from aiida_pseudo.groups.family import CutoffsPseudoPotentialFamily, PseudoPotentialFamily
from qe_tools import CONSTANTS

from aiida_mlfc.calculations.references import kpoints_for_distance, mesh_for_distance, symmetrized_structure
from aiida_mlfc.workchains.dft_reference import DftReferenceWorkChain, settings_used

from .test_protocols import plain

UPF = '<UPF version="2.0.1"><PP_HEADER element="{0}" z_valence="{1}" functional="SLA PZ NOGX NOGC"/></UPF>'
CUTOFFS = {'cutoff_wfc': 20.0, 'cutoff_rho': 80.0}


@pytest.fixture
def codes(aiida_code_installed):
    return {
        name: aiida_code_installed(label=name, default_calc_job_plugin=f'quantumespresso.{name}')
        for name in ('pw', 'ph')
    }


@pytest.fixture
def make_family(tmp_path):
    def _make(label, kind=PseudoPotentialFamily):
        found = kind.collection.find({'label': label})
        if found:
            return found[0].label
        folder = tmp_path / 'pseudos'
        folder.mkdir(exist_ok=True)
        for element, valence in (('Si', 4), ('Mg', 2), ('O', 6)):
            (folder / f'{element}.upf').write_text(UPF.format(element, valence))
        return kind.create_from_folder(folder, label, pseudo_type=UpfData).label

    return _make


def builder_of(codes, family, atoms=None, **keywords):
    structure = StructureData(ase=bulk('Si', 'diamond', a=5.388) if atoms is None else atoms)
    keywords = {'overrides': dict(CUTOFFS)} | keywords
    return DftReferenceWorkChain.get_builder_from_protocol(codes['pw'], structure, pseudo_family=family, **keywords)


def content(builder):
    """A builder's inputs as plain values."""

    def _plain(value):
        if hasattr(value, 'items') and not hasattr(value, 'uuid'):
            found = {key: _plain(inner) for key, inner in value.items()}
            return {key: inner for key, inner in found.items() if inner not in ({}, None)}
        if hasattr(value, 'get_kpoints_mesh'):
            return [list(part) for part in value.get_kpoints_mesh()]
        if hasattr(value, 'get_list'):
            return value.get_list()
        if hasattr(value, 'value'):
            return value.value
        if isinstance(value, StructureData):
            return f'<{value.get_formula()}>'
        if isinstance(value, UpfData):
            return f'<{value.filename}>'
        if hasattr(value, 'full_label'):
            return f'<{value.label}>'
        return value

    return plain(_plain(builder._inputs(prune=True)), {})


@pytest.mark.parametrize('protocol', ['fast', 'balanced', 'stringent'])
def test_golden_builder(codes, make_family, data_regression, protocol):
    """An insulator with everything switched on."""
    builder = builder_of(
        codes,
        make_family('golden'),
        bulk('MgO', 'rocksalt', a=4.187),
        protocol=protocol,
        electronic_type='insulator',
        relax_type='positions_cell',
        ph_code=codes['ph'],
    )
    data_regression.check(content(builder))


def test_golden_metal(codes, make_family, data_regression):
    data_regression.check(content(builder_of(codes, make_family('golden'), options={'queue_name': 'short'})))


def test_magnetism_goes_through(codes, make_family):
    """Moments by kind reach every cell: supercells carry the kinds of the unit cell."""
    from aiida_quantumespresso.common.types import SpinType

    builder = builder_of(
        codes, make_family('golden'), spin_type=SpinType.COLLINEAR, initial_magnetic_moments={'Si': 1.0}
    )
    system = content(builder)['scf']['pw']['parameters']['SYSTEM']
    assert system['nspin'] == 2
    assert system['starting_magnetization'] == {'Si': 0.25}


def test_thresholds_go_with_the_supercell(codes, make_family):
    """conv_thr is an energy of the whole cell."""
    values = [
        content(builder_of(codes, make_family('golden'), overrides={**CUTOFFS, 'supercell_matrix': matrix}))
        for matrix in ([1, 1, 1], [[2, 0, 0], [0, 2, 0], [0, 0, 3]])
    ]
    first, second = (value['scf']['pw']['parameters']['ELECTRONS']['conv_thr'] for value in values)
    assert second == pytest.approx(12 * first)
    assert values[1]['supercell_matrix'] == [[2, 0, 0], [0, 2, 0], [0, 0, 3]]


def test_cutoffs_of_the_family(codes, make_family):
    """A family that recommends cutoffs needs none from the user; one that does not says so."""
    label = make_family('with cutoffs', CutoffsPseudoPotentialFamily)
    family = CutoffsPseudoPotentialFamily.collection.get(label=label)
    family.set_cutoffs({e: {'cutoff_wfc': 31.0, 'cutoff_rho': 124.0} for e in ('Si', 'Mg', 'O')}, 'normal', unit='Ry')
    system = content(builder_of(codes, label, overrides={}))['scf']['pw']['parameters']['SYSTEM']
    assert (system['ecutwfc'], system['ecutrho']) == (31.0, 124.0)
    with pytest.raises(ValueError, match='cannot recommend cutoffs'):
        builder_of(codes, make_family('golden'), overrides={})


def test_refusals(codes, make_family):
    family = make_family('golden')
    with pytest.raises(ValueError, match="relax_type: got 'volume', wanted one of none, positions, positions_cell"):
        builder_of(codes, family, relax_type='volume')
    with pytest.raises(ValueError, match="got electronic_type 'metal', wanted 'insulator'"):
        builder_of(codes, family, ph_code=codes['ph'])
    with pytest.raises(ValueError, match='overrides: got kpoints_distanse'):
        builder_of(codes, family, overrides={**CUTOFFS, 'kpoints_distanse': 0.1})
    with pytest.raises(ValueError, match='not contain'):
        builder_of(codes, family, bulk('Al', 'fcc', a=4.0))
    mixed = PseudoPotentialFamily(label='mixed').store()
    for element, functional in (('Mg', 'PBE'), ('O', 'SLA PZ NOGX NOGC')):
        content = UPF.format(element, 6).replace('SLA PZ NOGX NOGC', functional)
        mixed.add_nodes([UpfData(BytesIO(content.encode()), filename=f'{element}.upf').store()])
    with pytest.raises(ValueError, match=r'different functionals: Mg: PBE \(Mg.upf\), O: LDA'):
        builder_of(codes, 'mixed', bulk('MgO', 'rocksalt', a=4.2))


def test_mesh_for_distance():
    cell = np.diag([2.0, 4.0, 8.0]) * np.pi
    # reciprocal vectors of length 1, 1/2 and 1/4
    assert mesh_for_distance(cell, 0.25) == [4, 2, 1]
    assert mesh_for_distance(cell, 0.24) == [5, 3, 2]
    assert mesh_for_distance(cell, 10.0) == [1, 1, 1]
    rounded = bulk('Si', 'diamond', a=5.388).cell.array * (1 + 1e-12 * np.random.default_rng(0).random((3, 3)))
    length = np.linalg.norm(2 * np.pi * np.linalg.inv(rounded).T, axis=1)[0]
    assert mesh_for_distance(rounded, length / 3) == [3, 3, 3]


def test_supercell_mesh_is_the_folded_one(aiida_profile):
    """Twice the cell, half the mesh: displaced cell and primitive cell see the same density of k-points."""
    primitive = bulk('Si', 'diamond', a=5.388)
    meshes = [
        kpoints_for_distance(StructureData(ase=cell), Float(0.26), List([0.5, 0.5, 0.5])).get_kpoints_mesh()
        for cell in (primitive, primitive * 2)
    ]
    assert meshes[0][0] == [8, 8, 8]
    assert meshes[1] == ([4, 4, 4], [0.5, 0.5, 0.5])


def test_symmetry_is_made_exact_and_kinds_stay(aiida_profile):
    """A file's five digits are made exact; two kinds of one element are different atoms, and stay so."""
    atoms = bulk('Si', 'diamond', a=5.388)
    atoms.positions[1] += [3e-5, -2e-5, 1e-5]
    exact = symmetrized_structure(StructureData(ase=atoms), Float(1e-3)).get_ase()
    np.testing.assert_allclose(exact.get_scaled_positions()[1] - exact.get_scaled_positions()[0], 0.25, atol=1e-12)
    magnetic = StructureData(cell=np.diag([2.87] * 3).tolist())
    for name, position in (('Fe1', 0.0), ('Fe2', 1.435)):
        magnetic.append_atom(position=[position] * 3, symbols='Fe', name=name)
    result = symmetrized_structure(magnetic, Float(1e-3))
    assert [site.kind_name for site in result.sites] == ['Fe1', 'Fe2']
    assert result.get_kind('Fe1').symbol == 'Fe'


def test_a_child_that_fails_is_named(make_family, aiida_code_installed, tmp_path):
    """A pw.x that leaves nothing: the step, the child and its exit status are said, and nothing else is started."""
    program = tmp_path / 'nothing'
    program.write_text('#!/bin/sh\nexit 1\n')
    program.chmod(0o755)
    code = aiida_code_installed(
        label='broken-pw', default_calc_job_plugin='quantumespresso.pw', filepath_executable=str(program)
    )
    overrides = {**CUTOFFS, 'supercell_matrix': [1, 1, 1], 'kpoints_mesh': [1, 1, 1]}
    builder = builder_of({'pw': code}, make_family('golden'), electronic_type='insulator', overrides=overrides)
    _, node = run_get_node(builder)
    assert node.exit_status == DftReferenceWorkChain.spec().exit_codes.ERROR_CHILD_FAILED.status
    assert 'undisplaced cell: PwBaseWorkChain<' in node.exit_message
    assert [child.process_label for child in node.called].count('PwBaseWorkChain') == 1


def test_what_the_input_leaves_out_is_what_the_program_took():
    """Only one cutoff is compulsory in pw.x."""
    output = {'rho_cutoff': 80 * CONSTANTS.ry_to_ev, 'occupations': 'fixed'}
    taken = {'cutoffs': {'ecutwfc': 20.0, 'ecutrho': 80.0}, 'occupations': 'fixed'}
    assert settings_used({'ecutwfc': 20.0}, output) == taken
    given = {'ecutwfc': 20.0, 'ecutrho': 160.0, 'occupations': 'smearing'}
    assert settings_used(given, output) == {'cutoffs': {'ecutwfc': 20.0, 'ecutrho': 160.0}, 'occupations': 'smearing'}
    assert settings_used({'ecutwfc': 20.0}, {}) == {'cutoffs': {'ecutwfc': 20.0}, 'occupations': 'not stated'}
