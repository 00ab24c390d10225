"""References as nodes, and what UPF files say about themselves."""

from types import SimpleNamespace

import numpy as np
import pytest
from ase.build import bulk

from aiida_mlfc.core.force_constants.irreducible import from_responses, set_up
from aiida_mlfc.core.references.record import Checks, Reference, Source
from aiida_mlfc.data.references import (
    EXTRA_CONTENT,
    KEY_REFERENCE,
    add_to_group,
    all_references,
    common_functional,
    functional_of_upf,
    imported_sha256s,
    reference_node,
)


@pytest.mark.parametrize(
    ('content', 'functional'),
    [
        ('<PP_HEADER functional=" SLA  PZ   NOGX NOGC" />', 'LDA (PZ)'),
        ('<PP_HEADER functional="PBE" />', 'PBE'),
        ('<PP_HEADER functional="SLA PW PSX PSC" />', 'PBEsol'),
        ('   SLA  PW   PBX  PBC    PBE  Exchange-Correlation functional\n', 'PBE'),
        ('<PP_HEADER functional="SLA PW" />', 'LDA (PW)'),
        ('<PP_HEADER functional="TPSS" />', 'TPSS'),
        ('nothing', 'not stated'),
    ],
)
def test_functional_of_upf(content, functional):
    assert functional_of_upf(content) == functional


def test_functionals_are_not_mixed():
    def upf(name):
        return SimpleNamespace(get_content=lambda: f'<PP_HEADER functional="{name}"/>', filename=f'{name}.UPF')

    assert common_functional({'Mg': upf('PBE'), 'O': upf('SLA PW PBX PBC')}) == 'PBE'
    with pytest.raises(ValueError, match=r'Mg: PBE \(PBE.UPF\), O: LDA \(PZ\) \(PZ.UPF\); wanted one for all'):
        common_functional({'Mg': upf('PBE'), 'O': upf('PZ')})


@pytest.fixture
def reference():
    setup = set_up(bulk('Si', 'diamond', a=5.43), np.diag([2, 2, 2]))
    response = np.zeros((1, 16, 3))
    response[0, 0], response[0, 1] = -setup.directions[0], setup.directions[0]
    measured = {'method': 'unknown', 'dtype': 'float64', 'seconds': 0.0, 'peak_memory': 0.0}
    force_constants = from_responses(setup, response, np.zeros((16, 3)), measured)
    object.__setattr__(force_constants.quality, 'max_residual_force', float('nan'))
    source = Source('/data/Si', {'FORCE_SETS': 'ab', 'POSCAR': 'cd'}, 'force sets', 'PBE', 'MIT', {'doi': '10/1'})
    return Reference('Si_test', force_constants, source, Checks(1, 0.01))


def test_what_is_known_stays_with_the_numbers(aiida_profile_clean, reference):
    node = reference_node(reference).store()
    np.testing.assert_array_equal(node.get_array('force_constants'), reference.force_constants.array)
    known = node.base.attributes.get(KEY_REFERENCE)
    assert (known['functional'], known['licence'], known['source']) == ('PBE', 'MIT', '/data/Si')
    assert known['sha256'] == {'FORCE_SETS': 'ab', 'POSCAR': 'cd'}
    assert known['more'] == {'doi': '10/1'}
    assert known['checks']['relative_residual'] == 0.01
    assert node.base.attributes.get('quality')['max_residual_force'] is None
    assert node.label == 'Si_test'
    assert [found.uuid for found in all_references()] == [node.uuid]
    assert imported_sha256s(EXTRA_CONTENT) == {node.base.extras.get(EXTRA_CONTENT)}
    add_to_group([node])
    phonon = node.get_phonopy_instance()
    np.testing.assert_allclose(phonon.force_constants, reference.force_constants.array)


def test_one_pseudopotential_for_each_element(aiida_profile, tmp_path):
    from aiida_mlfc.data.pseudo_families import family_of_files, stated_cutoffs, upf_files

    header = '<UPF version="2.0.1"><PP_HEADER element="{0}" z_valence="4" wfc_cutoff="{1}" rho_cutoff="{2}"/></UPF>'
    for name, element, cutoffs in (('Si.a.UPF', 'Si', (20, 80)), ('C.UPF', 'C', (30, 120)), ('Ge.UPF', 'Ge', (0, 0))):
        (tmp_path / name).write_text(header.format(element, *cutoffs))
    (tmp_path / 'readme.upf').write_text('no pseudopotential')
    files = upf_files([tmp_path], ['Si', 'C'])
    assert {element: path.name for element, path in files.items()} == {'Si': 'Si.a.UPF', 'C': 'C.UPF'}
    assert stated_cutoffs(files) == (30.0, 120.0)
    assert stated_cutoffs(upf_files([tmp_path], ['Ge', 'C'])) is None
    label = family_of_files(files)
    assert family_of_files(files) == label
    assert family_of_files(upf_files([tmp_path], ['Si'])) != label
    (tmp_path / 'cutoffs.json').write_text('{"Ge": {"cutoff_wfc": 40, "cutoff_rho": 160}}')
    assert stated_cutoffs(upf_files([tmp_path], ['Ge', 'C'])) == (40.0, 160.0)
    with pytest.raises(ValueError, match='no pseudopotential for Al in'):
        upf_files([tmp_path], ['Si', 'Al'])
    (tmp_path / 'Si.b.UPF').write_text(header.format('Si', 20, 80))
    with pytest.raises(ValueError, match=r'several pseudopotentials for Si: Si.a.UPF, Si.b.UPF'):
        upf_files([tmp_path], ['Si'])
    assert upf_files([tmp_path / 'Si.b.UPF'], ['Si'])['Si'].name == 'Si.b.UPF'
    with pytest.raises(ValueError, match='names no element'):
        upf_files([tmp_path / 'readme.upf'], ['Si'])
