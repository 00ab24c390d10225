"""What is read of the jobs of a screen, from nodes as work chains leave them."""

import pytest
from aiida.common.links import LinkType
from aiida.orm import CalcJobNode, Dict, WorkChainNode

from aiida_mlfc.data.costs import seconds_by_crystal
from aiida_mlfc.data.facts import facts_of
from aiida_mlfc.data.phonons import BANDS


def row(seconds, **more):
    return {'name': 'crystal', 'status': 'ok', 'seconds': seconds, **more}


@pytest.fixture
def phonons_of(make_structure, silicon, aiida_localhost):
    """``mlfc.phonon`` of the crystals ``a`` and ``b`` whose jobs reported this."""

    def _make(*reports):
        process = WorkChainNode()
        for key in ('a', 'b'):
            process.base.links.add_incoming(make_structure(silicon), LinkType.INPUT_WORK, f'structures__{key}')
        process.store()
        for key in ('a', 'b'):
            bands = Dict({'of': key}).store()
            bands.base.links.add_incoming(process, LinkType.RETURN, f'{BANDS}__{key}')
        restarting = WorkChainNode()
        restarting.base.links.add_incoming(process, LinkType.CALL_WORK, 'relax')
        restarting.store()
        for k, report in enumerate(reports):
            job = CalcJobNode(computer=aiida_localhost)
            job.base.links.add_incoming(restarting, LinkType.CALL_CALC, f'iteration_{k:02d}')
            job.store()
            output = Dict(report)
            output.base.links.add_incoming(job, LinkType.CREATE, 'output_parameters')
            output.store()
        return process.pk

    return _make


def test_what_a_restart_carries_over_is_counted_once(phonons_of):
    """The second job finds ``a`` done and does ``b``; the third is another step for both."""
    done = row(2.5, energy=-1.25)
    pk = phonons_of({'a': done}, {'a': done, 'b': row(4.0)}, {'a': row(0.5), 'b': row(0.25)})
    assert facts_of([pk])[pk].parameters == {'a': [done, row(0.5)], 'b': [row(4.0), row(0.25)]}
    assert seconds_by_crystal([pk]) == {'a': 3.0, 'b': 4.25}


def test_a_failure_that_comes_back_is_the_last_word(phonons_of):
    failed = {'status': 'failed', 'seconds': 0.0, 'error': {'type': 'UnreadableResult', 'message': 'cut off'}}
    pk = phonons_of({'a': failed}, {'a': row(1.0)}, {'a': failed})
    assert facts_of([pk])[pk].parameters['a'] == [failed, row(1.0), failed]
