"""A daemon that dies between submitting children and writing that down repeats the step: no child twice."""

import copy

import numpy as np
import pytest
from aiida.common.links import LinkType
from aiida.engine import ProcessState
from aiida.engine.runners import Runner
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.orm import Dict, KpointsData, WorkChainNode

from aiida_mlfc.data.force_constants import force_constants_node
from aiida_mlfc.workchains.active_learning import ActiveLearningWorkChain
from aiida_mlfc.workchains.comparison import ComparisonWorkChain

EMT = {'module': 'ase.calculators.emt', 'name': 'EMT', 'arguments': {}}


def checkpoint_of(context):
    """A context that later changes do not reach."""
    return {key: copy.copy(value) if isinstance(value, list | dict) else value for key, value in context.items()}


@pytest.fixture
def died(monkeypatch):
    """Do a step of a work chain twice from the same checkpoint; labels of the children after each time."""
    parents = []

    def submit(self, process, inputs=None, **kwargs):
        """What is in the database once a child is submitted."""
        child = WorkChainNode()
        child.set_process_type(process.build_process_type())
        child.set_process_state(ProcessState.WAITING)
        child.set_checkpoint('what a daemon loads')
        label = kwargs['metadata'].get('call_link_label', 'CALL')
        child.base.links.add_incoming(parents[-1], LinkType.CALL_WORK, label)
        return child.store()

    monkeypatch.setattr(Runner, 'submit', submit)

    def _twice(process, step):
        parents.append(process.node)
        before = checkpoint_of(process.ctx)
        labels = []
        for _ in range(2):
            process.ctx.clear()
            process.ctx.update(checkpoint_of(before))
            step()
            links = process.node.base.links.get_outgoing(link_type=LinkType.CALL_WORK).all()
            labels.append(sorted(link.link_label for link in links))
        return labels

    return _twice


def process_of(builder):
    return instantiate_process(get_manager().get_runner(), builder)


def test_comparison(died, mlfc_code, potential_node, make_structure, silicon):
    made = {'supercell_matrix': np.eye(3, dtype=int), 'primitive_matrix': np.eye(3), 'symprec': 1e-4, 'quality': {}}
    reference = force_constants_node(make_structure(silicon), np.ones((2, 2, 3, 3)), made)
    builder = ComparisonWorkChain.get_builder_from_protocol(mlfc_code, {'si': reference}, potential_node)
    process = process_of(builder)
    process.setup()
    first, second = died(process, process.run_jobs)
    assert first == second == ['autograd_01', 'relax_00']
    # the next jobs are other ones
    first, second = died(process, process.run_jobs)
    assert first == second == ['autograd_01', 'difference_0_02', 'difference_1_03', 'relax_00']


def test_active_learning(died, mlfc_code, potential_node, make_structure, silicon):
    builder = ActiveLearningWorkChain.get_builder_from_protocol(
        mlfc_code, {'si': make_structure(silicon)}, potential_node, relax=False
    )
    builder.ase_reference.calculator = Dict(EMT)
    process = process_of(builder)
    process.setup()
    first, second = died(process, process.run_screen)
    assert first == second == ['screen_00']
    process.ctx.rounds = [{'asked': {'si': 'uncertain'}}]
    first, second = died(process, process.run_references)
    assert first == second == ['reference_si', 'screen_00']
    first, second = died(process, process.run_training)
    assert first == second == ['reference_si', 'screen_00', 'train_01']


UPF = '<UPF version="2.0.1"><PP_HEADER element="Si" z_valence="4" functional="PBE"/></UPF>'


def test_dft_reference(died, aiida_code_installed, make_structure, silicon, tmp_path):
    pytest.importorskip('aiida_quantumespresso', reason='aiida-quantumespresso is not installed')
    from aiida_pseudo.data.pseudo import UpfData
    from aiida_pseudo.groups.family import PseudoPotentialFamily

    from aiida_mlfc.workchains.dft_reference import DftReferenceWorkChain

    (tmp_path / 'Si.upf').write_text(UPF)
    family = PseudoPotentialFamily.create_from_folder(tmp_path, 'repeated', pseudo_type=UpfData)
    structure = make_structure(silicon)
    process = process_of(
        DftReferenceWorkChain.get_builder_from_protocol(
            aiida_code_installed(label='pw', default_calc_job_plugin='quantumespresso.pw'),
            structure,
            pseudo_family=family.label,
            overrides={'cutoff_wfc': 20.0, 'cutoff_rho': 80.0, 'supercell_matrix': [1, 1, 1]},
            electronic_type='insulator',
        )
    )
    process.ctx.kpoints = KpointsData()
    process.ctx.kpoints.set_kpoints_mesh([1, 1, 1])
    process.ctx.supercells = [('supercell_1', structure), ('supercell_2', structure)]
    first, second = died(process, process.run_forces)
    assert first == second == ['forces_1', 'forces_2']
