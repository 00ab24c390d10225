"""What jobs learn from, as nodes: force sets, aiida-phonopy's ``PhonopyData``, and force constants without forces."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from aiida.orm import StructureData
from aiida_phonopy.data import ForceConstantsData, PhonopyData, PreProcessData

from aiida_mlfc.core.references.record import NOT_STATED, Reference
from aiida_mlfc.core.structures.cells import to_ase
from aiida_mlfc.data.force_constants import KEY_QUALITY
from aiida_mlfc.data.references import KEY_REFERENCE, reference_node, say_origin
from aiida_mlfc.exchange.job import structure_arrays
from aiida_mlfc.exchange.training_inputs import TAKEN_OFF, constants_arrays

#: of a quality record: another program made the force constants
_UNKNOWN = 'unknown'


def force_set_node(reference: Reference) -> PhonopyData | ForceConstantsData:
    """An unstored node of a reference with its configurations, or of force constants that it holds instead."""
    if reference.sets is None:
        return reference_node(reference)
    found = reference.force_constants
    cells = PreProcessData(
        structure=StructureData(ase=found.unitcell),
        supercell_matrix=np.asarray(found.supercell_matrix).tolist(),
        primitive_matrix=np.asarray(found.primitive_matrix).tolist(),
        symprec=found.symprec,
    )
    cells.set_displacements_from_dataset({'displacements': reference.sets.displacements})
    node = PhonopyData(preprocess_data=cells)
    node.set_forces(sets_of_forces=reference.sets.forces)
    if found.nac_params is not None:
        node.set_dielectric(found.nac_params['dielectric'])
        node.set_born_charges(found.nac_params['born'])
    say_origin(node, reference)
    return node


def force_set_input(node: PhonopyData | ForceConstantsData) -> dict[str, Any]:
    """What a training job reads of a node; residual forces of the undisplaced cell are taken off where there are any.

    :raises ValueError: if forces or displacements are missing, or force constants.
    """
    if isinstance(node, ForceConstantsData):
        return _constants_input(node)
    # By elements: where kinds have names of their own, aiida-phonopy would number them 1, 2..., hydrogen and helium.
    phonon = node.get_phonopy_instance(subtract_residual_forces=node.residual_forces is not None, distinguish=False)
    if phonon.dataset is None or phonon.forces is None:
        raise ValueError('a force set without forces; wanted PhonopyData with displacements and forces')
    forces = np.asarray(phonon.forces)
    if 'first_atoms' in phonon.dataset:
        displacements = np.zeros_like(forces)
        for k, entry in enumerate(phonon.dataset['first_atoms']):
            displacements[k, entry['number']] = entry['displacement']
    else:
        displacements = np.asarray(phonon.dataset['displacements'])
    nac = phonon.nac_params
    return {
        'supercell': structure_arrays(to_ase(phonon.supercell)),
        'primitive': structure_arrays(to_ase(phonon.primitive)),
        'displacements': displacements,
        'forces': forces,
        'source': json.dumps(_source(node)),
        'nac_params': None if nac is None else {key: nac[key] for key in ('born', 'dielectric', 'factor')},
    }


def _constants_input(node: ForceConstantsData) -> dict[str, Any]:
    """Force constants as a job reads them; what they are worth is found there, where they are symmetrised."""
    if node.force_constants is None:
        raise ValueError('a ForceConstantsData without force constants')
    source, stated = _source(node), node.base.attributes.get(KEY_REFERENCE, None)
    method = node.base.attributes.get(KEY_QUALITY, {}).get('method', _UNKNOWN)
    if stated is None and method != _UNKNOWN:
        # Learned like any other, but the card must not let them pass for DFT.
        source['code'] = f'a machine-learned potential ({method}), no DFT'
    taken_off = (stated or {}).get('checks', {}).get('relative_residual')
    if taken_off is not None:
        source[TAKEN_OFF] = taken_off
    return constants_arrays(node.get_phonopy_instance(distinguish=False), source)


def _source(node: PhonopyData | ForceConstantsData) -> dict[str, Any]:
    """Where a node is from, for the card of what learns from it."""
    stated = node.base.attributes.get(KEY_REFERENCE, {})
    more = stated.get('more', {})
    return {
        **{key: more[key] for key in ('code', 'repo', 'commit') if key in more},
        'name': more.get('name') or stated.get('name') or node.label or node.uuid,
        'functional': stated.get('functional', NOT_STATED),
        'licence': stated.get('licence', NOT_STATED),
        'sha256': stated.get('sha256', {}),
    }
