"""Real phonons of three small crystals by ASE's EMT potential: a stable one, an unstable one, one with two elements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from phonopy import Phonopy

from aiida_mlfc.core.force_constants.record import ForceConstants, Quality
from aiida_mlfc.core.phonons.analysis import analyse
from aiida_mlfc.core.phonons.record import Phonons
from aiida_mlfc.core.structures.cells import to_ase, to_phonopy
from aiida_mlfc.reports.rows import Row, failed_row, finished_row

HOSTILE_NAME = '<img src=x onerror=alert(1)>'
HOSTILE_ERROR = '</script><script>alert(2)</script> [bold]not markup[/bold] \x1b[2Jno escape'


@dataclass(frozen=True)
class Crystal:
    """A crystal and what was computed for it."""

    atoms: Atoms
    supercell_matrix: np.ndarray
    quality: Quality
    phonons: Phonons

    def row(self, name: str, **known) -> Row:
        return finished_row(
            name, self.phonons, self.quality, formula=self.atoms.get_chemical_formula(), spacegroup='Fm-3m (225)',
            n_atoms=len(self.atoms), supercell_matrix=self.supercell_matrix.tolist(), potential='EMT',
            potential_sha256='0' * 64, **known,
        )


def emt_crystal(atoms: Atoms, multiples: int) -> Crystal:
    """Force constants by phonopy's finite differences; a coarse mesh is enough to draw."""
    matrix = np.eye(3, dtype=int) * multiples
    phonon = Phonopy(to_phonopy(atoms), supercell_matrix=matrix, primitive_matrix=np.eye(3), log_level=0)
    phonon.generate_displacements(distance=0.01)
    forces = []
    for supercell in phonon.supercells_with_displacements:
        displaced = to_ase(supercell)
        displaced.calc = EMT()
        forces.append(displaced.get_forces())
    phonon.forces = forces
    phonon.produce_force_constants(calculate_full_force_constants=False)
    array = phonon.force_constants
    sum_residual = float(np.abs(array.sum(axis=1)).max())
    quality = Quality('finite_difference', 'float64', 0.0, sum_residual, 3e-6, len(forces), 0.5, 100.0, 0.01)
    force_constants = ForceConstants(array, atoms, matrix, np.eye(3), quality)
    return Crystal(atoms, matrix, quality, analyse(force_constants, mesh_length=20.0, points_per_segment=21))


@pytest.fixture(scope='session')
def aluminium() -> Crystal:
    return emt_crystal(bulk('Al', a=3.99), 3)


@pytest.fixture(scope='session')
def bcc_copper() -> Crystal:
    """Copper does not like to be body-centred: imaginary modes at N."""
    return emt_crystal(bulk('Cu', 'bcc', a=2.87), 3)


@pytest.fixture(scope='session')
def copper_gold() -> Crystal:
    positions = [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return emt_crystal(Atoms('AuCu3', scaled_positions=positions, cell=[3.75] * 3, pbc=True), 2)


@pytest.fixture
def screen(aluminium, bcc_copper, copper_gold) -> tuple[list[Row], dict[str, Phonons]]:
    """Rows with hostile and repeated names, and the phonons under the uuids of their force constants."""
    rows = [
        copper_gold.row('gold copper', force_constants_uuid='fc-1'),
        aluminium.row('twin', force_constants_uuid='fc-2'),
        bcc_copper.row('twin', force_constants_uuid='fc-3'),
        aluminium.row(HOSTILE_NAME, force_constants_uuid='fc-4'),
        failed_row('broken.cif', HOSTILE_ERROR),
        failed_row('broken.cif', 'element U is not known', formula='UO2', n_atoms=3),
    ]
    phonons = {'fc-1': copper_gold.phonons, 'fc-2': aluminium.phonons, 'fc-3': bcc_copper.phonons,
               'fc-4': aluminium.phonons}
    return rows, phonons
