"""Fixtures for the whole house: AiiDA's own (a throw-away profile), and the smallest potential that is a real one."""

from collections.abc import Callable
from pathlib import Path

import pytest
from ase import Atoms
from ase.build import bulk

pytest_plugins = ['aiida.tools.pytest_fixtures']


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
