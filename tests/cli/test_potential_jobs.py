"""Job folders that are kept and used again: no number of an earlier question answers a later one."""

import numpy as np
import pytest
from ase.build import bulk

from aiida_mlfc.cli import evaluating, potential_jobs
from aiida_mlfc.cli.evaluating import Evaluation
from aiida_mlfc.cli.potential_jobs import force_constants_of, potential_file
from aiida_mlfc.core.force_constants.record import ForceConstants
from aiida_mlfc.runner.run import run_job
from tests.core.comparison import crystals

from ..spring_sets import write_springs


@pytest.fixture
def node(monkeypatch):
    """mlfc-run in this process, or one that ends with an exit code before it does anything."""
    ends: list[int] = []

    def run(folder):
        return ends[0] if ends else run_job(folder)

    for module in (potential_jobs, evaluating):
        monkeypatch.setattr(module, 'run_mlfc', run)
    return ends


@pytest.mark.parametrize('own_geometry', [False, True])
def test_force_constants_of_an_earlier_run(node, tiny_checkpoint, tmp_path, own_geometry):
    potential = potential_file(str(tiny_checkpoint))
    silicon, aluminium = (
        crystals.force_constants_of(atoms, (2, 2, 2)) for atoms in (bulk('Si', a=5.43), bulk('Al', a=4.05))
    )
    if own_geometry:
        # an untrained potential relaxes nothing: what is kept is the failure
        (found,) = force_constants_of(potential, {'x': silicon}, tmp_path, own_geometry=True)
        assert isinstance(found[1], str)
    else:
        (found,) = force_constants_of(potential, {'x': silicon}, tmp_path)
        assert isinstance(found[1], ForceConstants)
    node.append(2)
    (now,) = force_constants_of(potential, {'x': aluminium}, tmp_path, own_geometry=own_geometry)
    assert now[0] == 'x'
    assert 'mlfc-run ended with exit code 2' in now[1]
    assert 'of an earlier job with other inputs' in now[1]
    # the same question has its answer, whatever happens now
    (again,) = force_constants_of(potential, {'x': silicon}, tmp_path, own_geometry=own_geometry)
    if own_geometry:
        assert again == found
    else:
        np.testing.assert_array_equal(again[1].array, found[1].array)


def test_evaluations_of_an_earlier_run(node, tiny_checkpoint, tmp_path):
    """Forces too: other configurations under the same keys."""
    potential = potential_file(str(tiny_checkpoint))
    write_springs(tmp_path / 'springs')
    evaluation = Evaluation(potential, tmp_path / 'work')
    (row,) = evaluation.rows([tmp_path / 'springs'])
    assert row['status'] == 'ok', row['error']
    folder = tmp_path / 'work' / 'portion-0' / 'forces' / 'moved'
    job = evaluating.read_job(folder)
    key = next(iter(job.structures))
    assert isinstance(evaluating._evaluated(folder, job, key, potential.sha256, 0), dict)
    other = evaluating._evaluated(folder, job, key, 'another potential', 3)
    assert other.startswith('mlfc-run ended with exit code 3: the result of')
