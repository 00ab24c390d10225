"""One policy of symmetrisation for force constants that are compared: space group, permutation, acoustic sum rule.

All three at once, by the projector of symfc (Seko and Togo, Phys. Rev. B 110, 214302 (2024)), wherever the force
constants are from. Results that stand for themselves are never symmetrised; comparisons and what files hold, always.
"""

from __future__ import annotations

import numpy as np
from phonopy import Phonopy
from phonopy.harmonic.force_constants import compact_fc_to_full_fc
from phonopy.interface.symfc import SymfcFCSolver
from phonopy.structure.atoms import PhonopyAtoms


def exact_supercell(phonon: Phonopy) -> PhonopyAtoms:
    """The supercell with its lattice put exactly on the symmetry it has within tolerance, for symfc.

    symfc keeps what its projector leaves unchanged to 1e-8 or so. A lattice written with eight digits turns rotations
    that are orthogonal to 1e-7, and force constants that are allowed are lost without a word.
    """
    supercell = phonon.supercell
    rotations = np.unique(np.asarray(phonon.symmetry.symmetry_operations['rotations']), axis=0)
    lattice = np.array(supercell.cell).T
    metric = np.mean([r.T @ (lattice.T @ lattice) @ r for r in rotations], axis=0)
    # The lattice of that metric that is turned least: polar decomposition in the frame of the lattice.
    values, vectors = np.linalg.eigh(np.linalg.inv(lattice).T @ metric @ np.linalg.inv(lattice))
    stretched = (vectors * np.sqrt(values)) @ vectors.T @ lattice
    return PhonopyAtoms(
        numbers=supercell.numbers,
        cell=stretched.T,
        scaled_positions=supercell.scaled_positions,
        masses=supercell.masses,
    )


def projected(phonon: Phonopy, array: np.ndarray) -> np.ndarray:
    """The nearest force constants that obey space group, permutation and acoustic sum rule, all at once.

    Idempotent, and the same subspace that force sets are fitted in.

    :param array: compact or full, shape ``(n_prim or n_super, n_super, 3, 3)``, eV/Å².
    :return: compact.
    """
    n_super = len(phonon.supercell)
    full = array if len(array) == n_super else compact_fc_to_full_fc(phonon.primitive, np.array(array, order='C'))
    solver = SymfcFCSolver(exact_supercell(phonon), symmetry=phonon.symmetry)
    basis = solver.compute_basis_set(orders=[2])[2]
    compression = basis.compression_matrix.tocsc()
    coefficients = basis.blocked_basis_set.T @ (full.ravel() @ compression)
    result = (compression @ (basis.blocked_basis_set @ coefficients)).reshape(full.shape)
    return np.ascontiguousarray(result[phonon.primitive.p2s_map])
