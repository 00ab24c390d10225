"""What a training job reads of force constants that come without forces: written alike for files and for nodes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from phonopy import Phonopy

from aiida_mlfc.core.structures.cells import to_ase
from aiida_mlfc.exchange.job import structure_arrays

#: key of the source: share of the force constants that symmetrisation took away before the job was written
TAKEN_OFF = 'asymmetry taken off'


def constants_arrays(phonon: Phonopy, source: dict[str, Any]) -> dict[str, Any]:
    """The input of a training job for force constants alone.

    :param phonon: with compact or full force constants, eV/Å².
    :param source: provenance, plain values; ``name`` among them.
    """
    rows, array = np.array(phonon.primitive.p2s_map), np.asarray(phonon.force_constants)
    nac = phonon.nac_params
    return {
        'supercell': structure_arrays(to_ase(phonon.supercell)),
        'primitive': structure_arrays(to_ase(phonon.primitive)),
        'force_constants': array if len(array) == len(rows) else array[rows],
        'rows': rows,
        'source': json.dumps(source),
        'nac_params': None if nac is None else {key: nac[key] for key in ('born', 'dielectric', 'factor')},
    }
