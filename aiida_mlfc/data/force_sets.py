"""Force sets as nodes, aiida-phonopy's ``PhonopyData``: from what is read from files, to what jobs learn from."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from aiida.orm import StructureData
from aiida_phonopy.data import PhonopyData, PreProcessData

from aiida_mlfc.core.references.record import NOT_STATED, Reference
from aiida_mlfc.core.structures.cells import to_ase
from aiida_mlfc.data.references import KEY_REFERENCE, say_origin
from aiida_mlfc.exchange.job import structure_arrays


def force_set_node(reference: Reference) -> PhonopyData:
    """An unstored node of a reference with its configurations.

    :raises ValueError: if it holds force constants without the forces they were fitted to.
    """
    if reference.sets is None:
        raise ValueError(f'{reference.name} holds force constants, wanted displacements and forces')
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


def force_set_input(node: PhonopyData) -> dict[str, Any]:
    """What a training job reads of a node; residual forces of the undisplaced cell are taken off where there are any.

    :raises ValueError: if forces or displacements are missing.
    """
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
    stated = node.base.attributes.get(KEY_REFERENCE, {})
    source = {
        **{key: stated['more'][key] for key in ('code', 'repo', 'commit') if key in stated.get('more', {})},
        'name': stated.get('more', {}).get('name') or stated.get('name') or node.label or node.uuid,
        'functional': stated.get('functional', NOT_STATED),
        'licence': stated.get('licence', NOT_STATED),
        'sha256': stated.get('sha256', {}),
    }
    nac = phonon.nac_params
    return {
        'supercell': structure_arrays(to_ase(phonon.supercell)),
        'primitive': structure_arrays(to_ase(phonon.primitive)),
        'displacements': displacements,
        'forces': forces,
        'source': json.dumps(source),
        'nac_params': None if nac is None else {key: nac[key] for key in ('born', 'dielectric', 'factor')},
    }
