"""Labels between the mesh points of a reference: phonopy's own interpolation, put on the smallest cell that holds q.

Exact labels exist only at wave vectors commensurate with the reference's supercell. Elsewhere phonopy's interpolation
(with the Gonze-Lee dipole part where Born charges are known) is what people would compare with anyway.
"""

from __future__ import annotations

import numpy as np
from phonopy import Phonopy
from phonopy.harmonic.dynmat_to_fc import DynmatToForceConstants

from aiida_mlfc.core.potentials.training.references import Reference
from aiida_mlfc.core.structures.cells import to_ase, to_phonopy
from aiida_mlfc.core.structures.sublattices import FoldedCell, sublattice_of

#: Å; two sites closer than this are the same
SAME_SITE = 1e-3


def interpolating_phonopy(reference: Reference, force_constants: np.ndarray) -> Phonopy:
    """A ``Phonopy`` of the reference, Born charges in the order of its own primitive cell.

    :param force_constants: of the supercell, shape ``(n_super, n_super, 3, 3)``, eV/Å².
    """
    primitive = reference.primitive
    matrix = (np.array(primitive.cell) @ np.linalg.inv(np.array(reference.supercell.cell))).T
    phonon = Phonopy(to_phonopy(reference.supercell), np.eye(3, dtype=int), primitive_matrix=matrix, log_level=0)
    phonon.force_constants = force_constants
    if reference.born is not None:
        shifts = phonon.primitive.positions[:, None] - primitive.positions[None]
        scaled = shifts @ np.linalg.inv(np.array(primitive.cell))
        distances = np.linalg.norm((scaled - np.rint(scaled)) @ np.array(primitive.cell), axis=2)
        order = distances.argmin(axis=1)
        if distances.min(axis=1).max() > SAME_SITE:
            raise ValueError(f'{reference.name}: Born charges belong to sites that the primitive cell does not have')
        phonon.nac_params = {**reference.born, 'born': np.array(reference.born['born'])[order]}
    return phonon


def interpolated_cell(phonon: Phonopy, qpoint: np.ndarray) -> FoldedCell:
    """The Γ Hessian of the smallest cell in which ``qpoint`` is commensurate, from interpolated dynamical matrices.

    :param phonon: from :func:`interpolating_phonopy`.
    :param qpoint: reduced coordinates of the primitive cell; any rational numbers.
    """
    # phonopy's supercell matrix has the new vectors in its columns
    matrix = sublattice_of(np.asarray(qpoint)).T
    small = Phonopy(phonon.primitive, matrix, primitive_matrix='P', is_symmetry=False, log_level=0)
    transform = DynmatToForceConstants(small.primitive, small.supercell, is_full_fc=True)
    matrices = []
    for q in transform.commensurate_points:
        phonon.dynamical_matrix.run(q)
        matrices.append(phonon.dynamical_matrix.dynamical_matrix)
    transform.dynamical_matrices = np.array(matrices)
    transform.run()
    return FoldedCell(to_ase(small.supercell), np.array(transform.force_constants), tuple(float(x) for x in qpoint))
