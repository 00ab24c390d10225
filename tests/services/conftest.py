"""Real services for the tests, started and stopped here; in CI their absence is a failure, elsewhere a skip.

They last as long as the file that uses them. Slurm has fixed ports: its tests are one file, which one worker runs.
"""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..cli.conftest import make_command  # noqa: F401 (a fixture)

SCRIPTS = Path(__file__).parent / 'slurm'
PROGRAMS = ('slurmctld', 'slurmd', 'slurmdbd', 'munged', 'mariadbd', 'sshd')


@pytest.fixture(scope='module')
def slurm() -> Iterator[Path]:
    """Folder of a running Slurm; ``SLURM_CONF`` points to it."""
    path = f'{os.environ["PATH"]}:/usr/sbin'
    missing = [program for program in PROGRAMS if shutil.which(program, path=path) is None]
    if os.geteuid() != 0:
        missing.append('root')
    if missing:
        reason = f'no {", ".join(missing)} (tests/services/slurm/install.sh installs Slurm, as root)'
        if os.environ.get('CI'):
            pytest.fail(reason)
        pytest.skip(reason)
    # Not under pytest's folders: user mysql must be able to enter.
    folder = Path(tempfile.mkdtemp(prefix='mlfc-slurm-'))
    folder.chmod(0o755)
    environment = {**os.environ, 'PATH': path}
    log = folder / 'start.log'
    with log.open('w') as stream:
        started = subprocess.run(
            ['bash', SCRIPTS / 'start.sh', folder], env=environment, stdout=stream, stderr=stream, check=False,
            stdin=subprocess.DEVNULL, timeout=180,
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('SLURM_CONF', str(folder / 'slurm.conf'))
        try:
            assert started.returncode == 0, log.read_text()
            yield folder
        finally:
            subprocess.run(['bash', SCRIPTS / 'stop.sh', folder], env=environment, check=False, timeout=120)
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope='module')
def postgresql_port() -> Iterator[int]:
    """Port of a running PostgreSQL on 127.0.0.1 with user, password and database ``aiida``."""
    programs = [*Path('/usr/lib/postgresql').glob('*/bin/initdb'), *filter(None, [shutil.which('initdb')])]
    if not programs:
        reason = 'no initdb (tests/services/postgresql/install.sh installs PostgreSQL, as root)'
        if os.environ.get('CI'):
            pytest.fail(reason)
        pytest.skip(reason)
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    # Not under pytest's folders: user postgres must be able to enter.
    folder = Path(tempfile.mkdtemp(prefix='mlfc-postgresql-'))
    scripts = Path(__file__).parent / 'postgresql'
    try:
        started = subprocess.run(
            ['bash', scripts / 'start.sh', folder, str(port)], capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL, timeout=180,
        )  # fmt: skip
        assert started.returncode == 0, started.stderr
        yield port
    finally:
        subprocess.run(['bash', scripts / 'stop.sh', folder], check=False, timeout=60)
        shutil.rmtree(folder, ignore_errors=True)
