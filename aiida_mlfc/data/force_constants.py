"""aiida-phonopy's ForceConstantsData from our arrays and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida.orm import ArrayData, StructureData
from aiida_phonopy.data import ForceConstantsData

from aiida_mlfc.core.force_constants.record import Quality
from aiida_mlfc.core.force_constants.sum_rules import acoustic_sum_residual, permutation_asymmetry
from aiida_mlfc.core.structures.cells import isotope_masses
from aiida_mlfc.core.units import COULOMB_EV_ANGSTROM
from aiida_mlfc.exchange.job import structure_arrays

#: attribute of the node in which the quality record is kept
KEY_QUALITY = 'quality'


def force_constants_node(
    structure: StructureData,
    array: np.ndarray,
    data: dict[str, Any],
    nac_params: ArrayData | None = None,
) -> ForceConstantsData:
    """An unstored ForceConstantsData.

    aiida-phonopy searches the symmetry of the supercell each time it looks at a cell (3.2 s at 128 atoms); here the
    node is built without, and ``is_symmetry`` set afterwards: same attributes, same array.

    :param structure: the unit cell, in the order of the force constants.
    :param array: compact force constants, shape ``(n_prim, n_super, 3, 3)``, eV/Å².
    :param data: ``supercell_matrix``, ``primitive_matrix``, ``symprec`` and ``quality`` from the result.
    :param nac_params: node with ``born`` and ``dielectric``.
    :raises ValueError: if the array does not fit the cells.
    """
    node = ForceConstantsData(
        structure=structure,
        supercell_matrix=np.asarray(data['supercell_matrix']).tolist(),
        primitive_matrix=np.asarray(data['primitive_matrix']).tolist(),
        symprec=float(data['symprec']),
        is_symmetry=False,
    )
    n_primitive = len(structure.sites) * abs(np.linalg.det(np.asarray(data['primitive_matrix'])))
    n_super = len(structure.sites) * abs(np.linalg.det(np.asarray(data['supercell_matrix'])))
    expected = (round(n_primitive), round(n_super), 3, 3)
    if array.shape != expected or not np.isfinite(array).all():
        raise ValueError(f'force constants: got shape {array.shape}, wanted {expected} and finite numbers')
    node.set_array('force_constants', array)
    masses = isotope_masses(structure.get_ase())
    if masses is not None:
        # which aiida-phonopy takes from the elements, unless kinds have names of their own
        node.base.attributes.set('masses', masses.tolist())
    if nac_params is not None:
        born, dielectric = nac_params.get_array('born'), nac_params.get_array('dielectric')
        if born.shape != (expected[0], 3, 3) or dielectric.shape != (3, 3):
            got, wanted = (born.shape, dielectric.shape), ((expected[0], 3, 3), (3, 3))
            raise ValueError(f'Born charges and dielectric tensor: got shapes {got}, wanted {wanted}')
        node.set_array('born_charges', born)
        node.base.attributes.set('dielectric', dielectric.tolist())
    node.base.attributes.set('is_symmetry', True)
    node.base.attributes.set(KEY_QUALITY, data['quality'])
    return node


def phonon_inputs(node: ForceConstantsData) -> dict[str, Any]:
    """What ``task: phonons`` reads, from the node: structure, force constants, Born charges."""
    from ase import Atoms

    array, quality = node.get_array('force_constants'), node.base.attributes.get(KEY_QUALITY, None)
    if quality is None:
        array, quality = _measured(node, array)
    masses = node.base.attributes.get('masses', None)
    # not ``numbers``: where kinds have names of their own, aiida-phonopy counts the kinds there
    unitcell = Atoms(node.symbols, positions=node.positions, cell=node.cell, pbc=True, masses=masses)
    values: dict[str, Any] = {
        'structure': structure_arrays(unitcell),
        'force_constants': {
            'array': array,
            'supercell_matrix': np.asarray(node.supercell_matrix),
            'primitive_matrix': np.asarray(node.primitive_matrix, dtype=float),
            'symprec': node.symprec,
            # which supercells were tried is a list of records: no array, and nothing that phonons depend on
            'quality': {name: value for name, value in quality.items() if name != 'supercell_search' or value is None},
        },
    }
    if 'born_charges' in node.get_arraynames():
        values['nac_params'] = {
            'born': node.get_array('born_charges'),
            'dielectric': np.asarray(node.dielectric),
            'factor': COULOMB_EV_ANGSTROM,
        }
    return values


def _measured(node: ForceConstantsData, array: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """Compact force constants that another program made, and what can be said about them: their sum rules."""
    primitive = node.get_phonopy_instance().primitive
    if array.shape[0] != len(primitive):
        array = np.array(array[primitive.p2s_map])
    quality = Quality(
        method='unknown',
        dtype='float64',
        permutation_asymmetry=permutation_asymmetry(array, primitive),
        acoustic_sum_residual=acoustic_sum_residual(array),
        max_residual_force=float('nan'),
        n_directions=0,
        seconds=0.0,
        peak_memory=0.0,
    )
    return array, quality.to_dict()
