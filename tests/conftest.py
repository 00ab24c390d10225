"""Fixtures for the whole house: AiiDA's own (a throw-away profile), and the smallest potential that is a real one."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ase import Atoms
from ase.build import bulk

# Jobs of a test run beside it: threads that spin while they wait take each other's cores. Before torch is imported.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')

pytest_plugins = ['aiida.tools.pytest_fixtures']

#: s; between looks at a process or a job. AiiDA's test profiles look without a pause, and take a core from the job.
POLL = 0.1
#: Files of a minute and more, the longest first: with several workers none is left alone with one of them at the end.
LONG = (
    'services/test_slurm.py',
    'workchains/test_active_learning_dft.py',
    'cli/test_screen.py',
    'workchains/test_train.py',
    'workchains/test_runs.py',
    'workchains/test_things_that_break.py',
    'cli/test_potential_train.py',
    'services/test_postgresql.py',
    'cli/test_reference.py',
    'workchains/test_active_learning.py',
    'cli/test_potential_evaluate.py',
    'core/potentials/mattersim/test_energy_gradients.py',
    'workchains/test_comparison.py',
    'workchains/test_dft_reference.py',
    'workchains/test_follow.py',
    'cli/test_follow.py',
    'workchains/test_second_look.py',
    'cli/test_compare.py',
    'runner/test_workers.py',
    'runner/test_interruption.py',
    'runner/test_training_settings.py',
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first if there are several workers; all others keep their order."""
    if 'PYTEST_XDIST_WORKER' in os.environ:
        here = Path(__file__).parent
        if missing := [name for name in LONG if not (here / name).is_file()]:
            raise pytest.UsageError(f'LONG in {__file__} names files that are not there: {", ".join(missing)}')
        place = {here / name: k for k, name in enumerate(LONG)}
        items.sort(key=lambda item: place.get(item.path, len(LONG)))


@pytest.fixture(scope='session', autouse=True)
def calm_runner() -> Iterator[None]:
    """Runners in this process look every ``POLL`` seconds whether a process has ended."""
    from aiida.manage.manager import Manager

    create = Manager.create_runner
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Manager, 'create_runner', lambda self, *a, **o: create(self, *a, **({'poll_interval': POLL} | o)))
        yield


@pytest.fixture
def aiida_localhost(aiida_localhost) -> Any:
    """AiiDA's fixture, asked for its jobs every ``POLL`` seconds."""
    aiida_localhost.set_minimum_job_poll_interval(POLL)
    return aiida_localhost


@pytest.fixture(scope='session')
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dx with random weights that knows Na, Al, Si and Cl: a force constant costs milliseconds, and means nothing."""
    from aiida_mlfc.core.potentials.checkpoints import save_dx

    from .core.small_systems import small_dx

    model = small_dx(channels=4, n_layers=1, cutoff=3.2)
    model.metadata.update({'name': 'tiny', 'licence': 'MIT', 'citation': 'none'})
    path = tmp_path_factory.mktemp('potential') / 'tiny.safetensors'
    save_dx(model, path)
    return path


@pytest.fixture(scope='session')
def silicon() -> Atoms:
    """Diamond, two atoms."""
    return bulk('Si', 'diamond', a=5.43)


@pytest.fixture(scope='session')
def rocksalt() -> Atoms:
    """NaCl, two atoms."""
    return bulk('NaCl', 'rocksalt', a=5.64)


@pytest.fixture(scope='session')
def make_job(tiny_checkpoint: Path) -> Callable[..., Path]:
    """Write a job folder, by default force constants in 2x2x2 supercells with the tiny potential."""
    from shutil import copyfile

    from aiida_mlfc.exchange.job import Job, structure_arrays, write_job
    from aiida_mlfc.exchange.names import POTENTIAL_FILE

    def _make(folder: Path, crystals: dict[str, Atoms], task: str = 'force_constants', **options) -> Path:
        if task == 'force_constants' and 'supercell_length' not in options:
            options = {'supercell_matrix': [2, 2, 2]} | options
        job = Job(task, options, {key: f'crystal {key}' for key in crystals}, POTENTIAL_FILE)
        write_job(folder, job, {key: {'structure': structure_arrays(atoms)} for key, atoms in crystals.items()})
        copyfile(tiny_checkpoint, folder / POTENTIAL_FILE)
        return folder

    return _make


@pytest.fixture
def mlfc_code(aiida_code_installed) -> Any:
    """``mlfc-run`` of this environment on this machine."""
    return aiida_code_installed(
        label='mlfc-run', filepath_executable=str(Path(sys.executable).with_name('mlfc-run')), use_double_quotes=False
    )


@pytest.fixture
def potential_node(tiny_checkpoint: Path) -> Any:
    """The tiny potential as a stored node."""
    from aiida_mlfc.data.potential import PotentialData

    return PotentialData.get_or_create(tiny_checkpoint)


@pytest.fixture
def make_structure(aiida_profile) -> Callable[..., Any]:
    """A stored StructureData with a label."""
    from aiida.orm import StructureData

    def _make(atoms: Atoms, label: str = '') -> StructureData:
        node = StructureData(ase=atoms)
        node.label = label
        return node.store()

    return _make


@pytest.fixture(scope='session')
def real_results(
    tmp_path_factory: pytest.TempPathFactory, make_job, silicon: Atoms, rocksalt: Atoms
) -> dict[str, Path]:
    """Job folders as ``mlfc-run`` leaves them, of ``Si`` and ``NaCl``, by task."""
    from aiida_mlfc.runner.run import run_job

    folders = {}
    steps = {'force_constants': {'supercell_matrix': [2, 2, 2]}, 'phonons': {'mesh_length': 12.0}, 'relax': {}}
    for task, options in {'evaluate': {}, 'relax': {}, 'force_constants': {}, 'phonon_steps': steps}.items():
        folder = make_job(tmp_path_factory.mktemp(task), {'Si': silicon, 'NaCl': rocksalt}, task, **options)
        assert run_job(folder) == 0
        folders[task] = folder
    return folders
