"""Calcfunctions of a reference: exact symmetry in, k-points, forces, Born charges, and force constants out."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida.engine import calcfunction
from aiida.orm import ArrayData, Dict, Float, KpointsData, List, StructureData, TrajectoryData
from aiida_phonopy.calculations.functions.data_utils import generate_phonopy_data
from aiida_phonopy.data import ForceConstantsData, PhonopyData, PreProcessData
from ase import Atoms

from aiida_mlfc.core.force_constants.record import Quality
from aiida_mlfc.core.force_constants.sum_rules import acoustic_sum_residual, permutation_asymmetry
from aiida_mlfc.core.structures.symmetry import symmetrized
from aiida_mlfc.data.force_constants import force_constants_node
from aiida_mlfc.data.nac import nac_params_node
from aiida_mlfc.data.references import KEY_REFERENCE


@calcfunction
def symmetrized_structure(structure: StructureData, symprec: Float) -> StructureData:
    """The structure put exactly on the symmetry that holds within ``symprec`` (Å); kinds keep their names."""
    kinds = structure.get_kind_names()
    # A number for each kind, not for each element: magnetic kinds of one element are different atoms.
    numbered = Atoms(
        numbers=[kinds.index(site.kind_name) + 1 for site in structure.sites],
        positions=[site.position for site in structure.sites],
        cell=structure.cell,
        pbc=True,
    )
    exact = symmetrized(numbered, symprec.value)
    result = StructureData(cell=np.array(exact.cell).tolist(), pbc=structure.pbc)
    for name in kinds:
        result.append_kind(structure.get_kind(name))
    for site, position in zip(structure.sites, exact.positions, strict=True):
        site.position = tuple(position)
        result.append_site(site)
    result.label = structure.label
    return result


def mesh_for_distance(cell: np.ndarray, distance: float) -> list[int]:
    """Numbers of k-points along the reciprocal vectors, so that neighbours are at most ``distance`` apart.

    :param cell: lattice vectors as rows, shape ``(3, 3)``, Å.
    :param distance: 1/Å, with the factor 2π.
    """
    lengths = 2 * np.pi * np.linalg.norm(np.linalg.inv(np.asarray(cell)).T, axis=1)
    # The small number keeps meshes of equal lengths equal where rounding would not.
    return np.maximum(1, np.ceil(lengths / distance - 1e-6)).astype(int).tolist()


@calcfunction
def kpoints_for_distance(structure: StructureData, distance: Float, offset: List) -> KpointsData:
    """One mesh for a cell.

    :param distance: largest distance between k-points, 1/Å.
    :param offset: 0 or 0.5 along each reciprocal vector.
    """
    kpoints = KpointsData()
    kpoints.set_cell_from_structure(structure)
    kpoints.set_kpoints_mesh(mesh_for_distance(structure.cell, distance.value), offset=offset.get_list())
    return kpoints


@calcfunction
def relaxation_kpoints(
    structure: StructureData, supercell_matrix: List, distance: Float, offset: List, kpoints: KpointsData | None = None
) -> KpointsData:
    """A mesh for the cell that holds the same k-points as that of its supercell.

    On others it would come to rest elsewhere: hexagonal silicon relaxed on 4x4x2 points about Γ has forces of 0.1 eV/Å
    on the shifted 4x4x2.

    :param supercell_matrix: only a diagonal one unfolds into a mesh; for others the cell has its own by ``distance``.
    :param distance: largest distance between k-points of the supercell, 1/Å.
    :param offset: 0 or 0.5 along each reciprocal vector.
    :param kpoints: mesh of the supercell, in place of ``distance`` and ``offset``.
    """
    matrix, cell, shift = np.array(supercell_matrix.get_list()), np.array(structure.cell), offset.get_list()
    matrix = np.diag(matrix) if matrix.shape == (3,) else matrix
    if (matrix != np.diag(np.diag(matrix))).any():
        mesh = np.array(mesh_for_distance(cell, distance.value))
    elif kpoints is None:
        mesh = np.diag(matrix) * mesh_for_distance(matrix @ cell, distance.value)
    else:
        mesh, shift = kpoints.get_kpoints_mesh()
        mesh = np.diag(matrix) * mesh
    result = KpointsData()
    result.set_cell_from_structure(structure)
    result.set_kpoints_mesh(mesh.tolist(), offset=shift)
    return result


@calcfunction
def forces_of_trajectory(trajectory: TrajectoryData) -> ArrayData:
    """Forces of the last step, array ``forces``, shape ``(n_atoms, 3)``, eV/Å."""
    result = ArrayData()
    result.set_array('forces', trajectory.get_array('forces')[-1])
    return result


@calcfunction
def nac_of_ph(ph_parameters: Dict) -> ArrayData:
    """``dielectric`` (3, 3) and ``born_charges`` (n_prim, 3, 3) of a ``ph.x`` run of the primitive cell.

    The charges are made neutral by taking their mean from each: what is left of k-point and cutoff errors.

    :raises ValueError: if ``ph.x`` left no electric-field response.
    """
    found = ph_parameters.get_dict()
    missing = {'dielectric_constant', 'effective_charges_eu'} - set(found)
    if missing:
        raise ValueError(f'ph.x: got no {", ".join(sorted(missing))}, wanted both; is the crystal an insulator?')
    # The file holds Fortran's Z(field, displacement, atom): row by row, the field runs fastest. phonopy wants it first.
    born = np.array(found['effective_charges_eu']).transpose(0, 2, 1)
    result = ArrayData()
    result.set_array('dielectric', np.array(found['dielectric_constant']))
    result.set_array('born_charges', born - born.mean(axis=0))
    result.base.attributes.set('largest_charge_sum', float(np.abs(born.sum(axis=0)).max()))
    return result


@calcfunction
def displaced_cells(
    structure: StructureData,
    supercell_matrix: List,
    primitive_matrix: List,
    symprec: Float,
    displacement_generator: Dict,
) -> PreProcessData:
    """Supercell, primitive cell and the displacements that symmetry leaves.

    aiida-phonopy's own work chain never hands ``symmetry_tolerance`` on to this point.
    """
    data = PreProcessData(
        structure=structure,
        supercell_matrix=supercell_matrix.get_list(),
        primitive_matrix=primitive_matrix.get_list(),
        symprec=symprec.value,
    )
    data.set_displacements(**displacement_generator.get_dict())
    return data


@calcfunction
def reference_force_set(
    preprocess_data: PreProcessData, information: Dict, nac_parameters: ArrayData | None = None, **forces: ArrayData
) -> PhonopyData:
    """Displacements with their forces, and where these come from: what is trained on them asks for the functional.

    :param information: as for :func:`reference_force_constants`.
    :param nac_parameters: ``dielectric`` and ``born_charges`` of the primitive cell.
    :param forces: by ``forces_N``; those of the undisplaced cell are ``forces_0``.
    """
    # aiida-phonopy's function without its own process: one step of provenance, not two
    node = generate_phonopy_data.__wrapped__(preprocess_data=preprocess_data, nac_parameters=nac_parameters, **forces)
    node.base.attributes.set(KEY_REFERENCE, information.get_dict())
    node.label = information.get('name', '')
    return node


@calcfunction
def reference_force_constants(phonopy_data: PhonopyData, information: Dict) -> ForceConstantsData:
    """Force constants of displaced cells: residual forces subtracted, sum rules measured, then symmetrised.

    :param information: where they come from, as :mod:`aiida_mlfc.data.references` describes it, with ``seconds``.
    """
    phonon = phonopy_data.get_phonopy_instance(subtract_residual_forces=True)
    # Drift: forces of a cell sum to zero; what pw.x leaves (1e-8 eV/Å) is taken out of each.
    forces = np.array(phonon.forces)
    phonon.forces = forces - forces.mean(axis=1, keepdims=True)
    phonon.produce_force_constants(calculate_full_force_constants=False, fc_calculator='traditional', show_drift=False)
    raw = np.array(phonon.force_constants)
    quality = Quality(
        method='finite_difference',
        dtype='float64',
        permutation_asymmetry=permutation_asymmetry(raw, phonon.primitive),
        acoustic_sum_residual=acoustic_sum_residual(raw),
        max_residual_force=float(np.abs(phonopy_data.residual_forces).max()),
        n_directions=len(forces),
        seconds=float(information['seconds']),
        # of other programs: not measured here
        peak_memory=0.0,
        distance=float(np.linalg.norm(phonon.dataset['first_atoms'][0]['displacement'])),
    )
    phonon.symmetrize_force_constants(show_drift=False)
    data: dict[str, Any] = {
        'supercell_matrix': phonon.supercell_matrix,
        'primitive_matrix': phonon.primitive_matrix,
        'symprec': phonopy_data.symprec,
        'quality': quality.to_dict(),
    }
    nac = None
    if phonopy_data.has_nac_parameters():
        nac = nac_params_node(phonon.nac_params['born'], phonon.nac_params['dielectric'])
    node = force_constants_node(phonopy_data.get_unitcell(), np.array(phonon.force_constants), data, nac)
    node.base.attributes.set(KEY_REFERENCE, information.get_dict())
    return node
