"""The command in processes of its own, with a profile of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
#: s
PATIENCE = 180


class Command:
    """``aiida-mlfc`` with AiiDA's configuration in ``home``.

    :param home: becomes AIIDA_PATH.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {**os.environ, 'AIIDA_PATH': str(home), 'OMP_NUM_THREADS': '1', 'COLUMNS': '200'}

    def __call__(self, *arguments: object) -> subprocess.CompletedProcess:
        """Run to the end."""
        return subprocess.run(
            [str(BIN / 'aiida-mlfc'), *map(str, arguments)],
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def start(self, *arguments: object) -> subprocess.Popen:
        """Start, output into files: a daemon may inherit it."""
        with open(self.home / 'out', 'w') as out, open(self.home / 'err', 'w') as err:
            return subprocess.Popen(
                [str(BIN / 'aiida-mlfc'), *map(str, arguments)],
                env=self.environment,
                cwd=self.home,
                stdout=out,
                stderr=err,
            )

    def python(self, code: str) -> str:
        """What a script prints that runs with the profile loaded."""
        script = f'from aiida import load_profile; load_profile()\n{code}'
        return subprocess.run(
            [sys.executable, '-c', script],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        ).stdout.strip()

    def verdi(self, *arguments: str) -> subprocess.CompletedProcess:
        """``verdi`` on the same profile."""
        return subprocess.run(
            [str(BIN / 'verdi'), *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )


@pytest.fixture(scope='session')
def make_command(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Command]:
    """A fresh home without any profile."""
    return lambda: Command(tmp_path_factory.mktemp('home'))
