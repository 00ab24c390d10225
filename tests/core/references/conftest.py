"""A real force set, by EMT: one crystal in every form that users have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from phonopy import Phonopy
from phonopy.file_IO import write_FORCE_CONSTANTS, write_force_constants_to_hdf5, write_FORCE_SETS
from phonopy.interface.vasp import write_vasp

from aiida_mlfc.core.structures.cells import to_ase, to_phonopy

DFT_REFERENCES = Path(__file__).resolve().parents[4] / 'shared' / 'data' / 'dft_references'
BORN = '14.400\n3.0 0 0 0 3.0 0 0 0 3.0\n1.5 0 0 0 1.5 0 0 0 1.5\n-0.5 0 0 0 -0.2 0 0 0 -0.2\n'


@pytest.fixture(scope='session')
def dft_references() -> Path:
    """The folder of DFT force sets beside the checkout."""
    if not DFT_REFERENCES.is_dir():
        pytest.skip(f'no DFT force sets at {DFT_REFERENCES}')
    return DFT_REFERENCES


@pytest.fixture(scope='session')
def phonon() -> Phonopy:
    """AuCu3 with phonopy's own displacements, forces and force constants."""
    positions = [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    atoms = Atoms('AuCu3', scaled_positions=positions, cell=[3.75] * 3, pbc=True)
    found = Phonopy(to_phonopy(atoms), np.diag([2, 2, 2]), primitive_matrix='P', log_level=0)
    found.generate_displacements(distance=0.01)
    forces = []
    for supercell in found.supercells_with_displacements:
        displaced = to_ase(supercell)
        displaced.calc = EMT()
        forces.append(displaced.get_forces())
    found.forces = forces
    found.produce_force_constants(calculate_full_force_constants=False, show_drift=False)
    return found


@pytest.fixture
def write(phonon, tmp_path):
    """Write a form of the reference into a folder."""

    def _write(folder: str, *forms: str) -> Path:
        here = tmp_path / folder
        here.mkdir(parents=True, exist_ok=True)
        for form in forms:
            if form == 'params':
                phonon.save(here / 'phonopy_params.yaml')
            elif form == 'disp':
                phonon.save(here / 'phonopy_disp.yaml', settings={'force_sets': False})
            elif form == 'POSCAR':
                write_vasp(here / 'POSCAR-unitcell', phonon.unitcell)
            elif form == 'SPOSCAR':
                write_vasp(here / 'SPOSCAR', phonon.supercell)
            elif form == 'conf':
                text = '# as phonondb writes it\nDIM = 2 2 2\nPRIMITIVE_AXES = 1 0 0 0 1 0 0 0 1\n'
                (here / 'phonopy.conf').write_text(text)
            elif form == 'FORCE_SETS':
                write_FORCE_SETS(phonon.dataset, here / 'FORCE_SETS')
            elif form == 'FORCE_CONSTANTS':
                write_FORCE_CONSTANTS(phonon.force_constants, here / 'FORCE_CONSTANTS', phonon.primitive.p2s_map)
            elif form == 'hdf5':
                write_force_constants_to_hdf5(
                    phonon.force_constants, here / 'force_constants.hdf5', phonon.primitive.p2s_map, 'eV/angstrom^2'
                )
            elif form == 'BORN':
                (here / 'BORN').write_text(BORN)
            else:
                raise ValueError(form)
        return here

    return _write
