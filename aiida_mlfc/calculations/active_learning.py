"""Calcfunctions of active learning: candidates from seeds, and what happened in the rounds."""

from __future__ import annotations

import numpy as np
from aiida.engine import calcfunction
from aiida.orm import Dict, StructureData
from aiida_phonopy.data import ForceConstantsData
from phonopy.harmonic.dynmat_to_fc import get_commensurate_points

from aiida_mlfc.core.structures.candidates import THRESHOLD, distinct, substituted


@calcfunction
def substitution_candidates(settings: Dict, **seeds: StructureData) -> dict[str, StructureData]:
    """Crystals made of seeds by substitution, most probable first, none twice and none that is a seed.

    :param settings: ``elements`` (symbols), and perhaps ``threshold`` and ``per_seed``.
    :return: by the seed's key and a number, ``nacl_001``.
    """
    given = settings.get_dict()
    if unknown := set(given) - {'elements', 'threshold', 'per_seed'}:
        raise ValueError(f'candidates: got {", ".join(sorted(unknown))}, wanted elements, threshold, per_seed')
    made = {}
    for key, node in seeds.items():
        found = substituted(node.get_ase(), given['elements'], given.get('threshold', THRESHOLD))
        for number, (_, atoms) in enumerate(found[: given.get('per_seed')], start=1):
            made[f'{key}_{number:03d}'] = atoms
    kept = distinct(made, [node.get_ase() for node in seeds.values()])
    nodes = {}
    for key, atoms in kept.items():
        nodes[key] = StructureData(ase=atoms)
        nodes[key].label = f'{atoms.get_chemical_formula(empirical=True)} from {key.rpartition("_")[0]}'
    return nodes


@calcfunction
def error_where_asked(predicted: ForceConstantsData, computed: ForceConstantsData) -> Dict:
    """How wrong a potential was about a crystal that it had asked about: THz, beside the uncertainty it had stated.

    Frequencies are compared in ascending order at the wave vectors that the supercell of the reference holds, each
    crystal at its own rest.

    :param predicted: of the screen that asked.
    :param computed: by the force engine.
    :return: ``frequency_rms`` and ``frequency_max``; nothing where the primitive cells have other numbers of atoms.
    """
    theirs, ours = computed.get_phonopy_instance(), predicted.get_phonopy_instance()
    # Born charges shift modes at Γ by direction; the screen and the engine need not have the same ones
    theirs.nac_params = ours.nac_params = None
    matrix = np.rint(np.linalg.inv(theirs.primitive_matrix) @ theirs.supercell_matrix).astype(int)
    qpoints = get_commensurate_points(matrix)
    pair = [np.array(phonon.run_qpoints(qpoints).frequencies) for phonon in (ours, theirs)]
    if pair[0].shape != pair[1].shape:
        return Dict({})
    off = pair[0] - pair[1]
    return Dict({'frequency_rms': float(np.sqrt(np.mean(off**2))), 'frequency_max': float(np.abs(off).max())})


@calcfunction
def active_learning_summary(content: Dict) -> Dict:
    """The record of a loop as a node of its own: ``rounds`` and ``stopped``."""
    return Dict(content.get_dict())
