"""What the measurements of large screens share: many small crystals, a potential that costs next to nothing, a profile.

The potential is a dx with random weights: its numbers mean nothing, its jobs take milliseconds, and everything around
them (AiiDA, daemon, broker, files) is the real thing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.build import bulk
from ase.io import write

BIN = Path(sys.executable).parent
#: two atoms each; lattice constants in Å
KINDS = (('Si', 'diamond', 5.43), ('NaCl', 'rocksalt', 5.64), ('SiAl', 'zincblende', 5.5))
#: relative change of the lattice constant from one crystal of a kind to the next: no two are the same
STEP = 1e-5
#: of the crystals' screen: 16 atoms a supercell
OPTIONS = ('--protocol', 'fast', '--supercell', '2', '2', '2')


def crystals(count: int) -> Iterator[tuple[str, Atoms]]:
    """Cells of two atoms, kinds in turn, each with its own lattice constant."""
    for k in range(count):
        name, kind, constant = KINDS[k % len(KINDS)]
        yield f'{name}_{k:05d}', bulk(name, kind, constant * (1 + STEP * (k // len(KINDS))))


def write_crystals(folder: Path, count: int) -> Path:
    """One file each."""
    folder.mkdir(parents=True)
    for name, atoms in crystals(count):
        write(folder / f'{name}.extxyz', atoms)
    return folder


def tiny_potential(path: Path) -> Path:
    """A checkpoint that knows Na, Al, Si and Cl."""
    import torch

    from aiida_mlfc.core.potentials.checkpoints import save_dx
    from aiida_mlfc.core.potentials.dx.config import preset
    from aiida_mlfc.core.potentials.dx.model import DXModel

    torch.manual_seed(7)
    sizes = {
        'channels': 4, 'n_layers': 1, 'cutoff': 3.2, 'n_heads': 2, 'attention_channels': 4, 'radial_width': 16,
        'type_channels': 4, 'n_radial': 6, 'energy_scale': 5.0, 'average_neighbours': 18.0,
    }  # fmt: skip
    model = DXModel(preset('v4', species=(11, 13, 14, 17), **sizes)).double().eval()
    model.metadata.update({'name': 'tiny', 'licence': 'MIT', 'citation': 'none'})
    save_dx(model, path)
    return path


class Home:
    """A folder with an AiiDA configuration of its own, and the commands in it.

    :param folder: becomes AIIDA_PATH.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ, 'PATH': f'{BIN}{os.pathsep}{os.environ["PATH"]}', 'AIIDA_PATH': str(folder),
            'OMP_NUM_THREADS': '1', 'COLUMNS': '160',
        }  # fmt: skip

    def start(self, *arguments: object, log: Path) -> subprocess.Popen[bytes]:
        """``aiida-mlfc`` in the background, its words in a file."""
        with log.open('ab') as stream:
            return subprocess.Popen(
                [str(BIN / 'aiida-mlfc'), *map(str, arguments)], env=self.environment, cwd=self.folder,
                stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
            )  # fmt: skip

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """``aiida-mlfc`` to the end."""
        return self._run([str(BIN / 'aiida-mlfc'), *map(str, arguments)])

    def verdi(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """``verdi`` to the end."""
        return self._run([str(BIN / 'verdi'), *map(str, arguments)])

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=self.environment, cwd=self.folder, capture_output=True, text=True, check=False
        )

    def ask(self, code: str) -> Any:
        """What a script with the profile loaded prints as JSON in its last line."""
        script = f'import json\nfrom aiida import load_profile\nload_profile()\nfrom aiida.orm import *\n{code}'
        done = self._run([sys.executable, '-W', 'ignore', '-c', script])
        if done.returncode != 0:
            raise RuntimeError(done.stderr[-3000:])
        return json.loads(done.stdout.strip().splitlines()[-1])

    def size(self) -> dict[str, float]:
        """Bytes of the database and of the file repository on the disk, as ``du`` counts them."""
        found = {'database': 0, 'repository': 0}
        for path in (self.folder / '.aiida' / 'repository').rglob('*'):
            if path.is_file() and 'scratch' not in path.parts:
                part = 'database' if path.suffix == '.sqlite' and 'container' not in path.parts else 'repository'
                found[part] += path.stat().st_blocks * 512
        return found
