"""Parser of ``mlfc.phonon_steps``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiida_mlfc.calculations.relax import RELAXED, UNCONVERGED
from aiida_mlfc.exchange.names import ARRAYS_FILE, RELAXED_FILE, UNIT_CELL_FILE
from aiida_mlfc.parsers.base import MlfcParser
from aiida_mlfc.parsers.force_constants import force_constants_from
from aiida_mlfc.parsers.phonons import phonons_from
from aiida_mlfc.parsers.relax import structure_from


class PhononStepsParser(MlfcParser):
    """Relaxed structures, force constants, and everything made of them, by key."""

    def attach(self, key: str, folder: Path, data: dict[str, Any]) -> None:
        """All of one crystal; nothing before everything was read."""
        given = self.given['structures'][key]
        nodes = {}
        if 'relax' in data:
            nodes[RELAXED] = structure_from(folder / RELAXED_FILE, given)
        nac = self.given.get('nac_params', {}).get(key)
        made = force_constants_from(folder, UNIT_CELL_FILE, data['force_constants'], nac)
        nodes['output_force_constants'] = made
        for name, node in {**nodes, **phonons_from(folder, data['phonons'], made)}.items():
            node.label = given.label
            self.out(f'{name}.{key}', node)

    def attach_failed(self, key: str, folder: Path) -> None:
        """The relaxed structure, if there is one, or where the relaxation stood that did not converge."""
        given = self.given['structures'][key]
        for name, file in ((RELAXED, RELAXED_FILE), (UNCONVERGED, ARRAYS_FILE)):
            if (folder / file).exists():
                self.out(f'{name}.{key}', structure_from(folder / file, given))
