"""Exact dynamical matrices of one crystal at any q-points, in phonopy's conventions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from ase import Atoms
from phonopy.structure.atoms import PhonopyAtoms

from aiida_mlfc.core.potentials.derivatives.qspace import bloch_force_constants
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph, one_hot_types
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.registry import load_potential
from aiida_mlfc.core.potentials.validity import check_environment
from aiida_mlfc.core.structures.cells import as_ase, to_phonopy
from aiida_mlfc.core.units import FREQUENCY_FACTOR_THZ


def dynamical_matrices(
    structure: Atoms | PhonopyAtoms,
    qpoints: np.ndarray,
    potential: EnergyModel | str,
    max_memory: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Dynamical matrices at any q-points, exact: no supercell, so no truncation and nothing interpolated.

    D_iα,jβ(q) = (m_i m_j)^(-1/2) Σ_S Φ(i α 0; j β S) exp(2πi q·(s_j + S - s_i)), s in reduced coordinates: phonopy's
    phase, so that eigenvectors, too, compare directly. No LO-TO splitting. Columns are computed in batches whose size
    follows from measured memory; see :func:`~aiida_mlfc.core.potentials.derivatives.qspace.bloch_force_constants`.

    :param structure: the cell, taken as it is; give the primitive cell for primitive phonons. Masses that were set on
        it hold, otherwise phonopy's.
    :param qpoints: reduced coordinates in the reciprocal lattice of ``structure``, shape ``(n_q, 3)``, or ``(3,)`` for
        one.
    :param potential: a loaded model, or what :func:`load_potential` takes.
    :param max_memory: bytes that a batch may take.
    :param progress: called with (done, total) columns.
    :return: shape ``(n_q, 3 n_atoms, 3 n_atoms)``, complex128, Hermitian, eV/Å²/amu; :func:`frequencies` reads it.
    :raises ValueError: for q-points of another shape, an unknown element or pair of elements, or a broken structure.
    :raises RuntimeError: if Φ(q) misses Hermiticity by more than rounding: the derivatives of the model are not
        those of one energy.
    """
    qpoints = np.atleast_2d(np.asarray(qpoints, dtype=float))
    if qpoints.ndim != 2 or qpoints.shape[1] != 3 or not np.isfinite(qpoints).all():
        raise ValueError(f'qpoints: got shape {qpoints.shape}, wanted (n_q, 3) finite numbers')
    atoms = as_ase(structure)
    model = load_potential(potential) if isinstance(potential, str) else potential
    one_hot_types(atoms.numbers, model.species)
    check_environment(atoms, model.metadata, model.cutoff)
    graph = build_graph(atoms, model.cutoff, model.species, model.dtype, model.device)
    phi = bloch_force_constants(model, graph, qpoints, max_memory, progress)
    _check_hermitian(phi, model.dtype)
    masses = (structure if isinstance(structure, PhonopyAtoms) else to_phonopy(structure)).masses
    # Not wrapped: the cells that S counts are those of the positions as they stand.
    phases = np.exp(2j * np.pi * qpoints @ atoms.get_scaled_positions(wrap=False).T) / np.sqrt(masses)
    phases = phases.repeat(3, axis=1)
    matrices = phases.conj()[:, :, None] * phi * phases[:, None, :]
    return (matrices + matrices.conj().transpose(0, 2, 1)) / 2


def _check_hermitian(phi: np.ndarray, dtype: torch.dtype) -> None:
    """The part that is not Hermitian must be rounding.

    :param phi: shape ``(n_q, 3 n_atoms, 3 n_atoms)``, complex.
    :param dtype: floating type that the elements were computed in.
    """
    residual = np.abs(phi - phi.conj().transpose(0, 2, 1)).max(initial=0)
    limit = np.sqrt(torch.finfo(dtype).eps) * np.abs(phi).max(initial=0)
    # Written so that NaN fails, too.
    if not residual <= limit:
        raise RuntimeError(
            f'force constants at q: not Hermitian by {residual:.2e} eV/Å², wanted at most {limit:.2e} (rounding): '
            'the second derivatives of the potential do not belong to one energy'
        )


def frequencies(matrices: np.ndarray) -> np.ndarray:
    """Phonon frequencies of dynamical matrices, ascending; imaginary ones as negative numbers.

    :param matrices: as :func:`dynamical_matrices` returns them, shape ``(n_q, 3 n_atoms, 3 n_atoms)``, eV/Å²/amu.
    :return: shape ``(n_q, 3 n_atoms)``, THz.
    """
    squares = np.linalg.eigvalsh(matrices)
    return np.sign(squares) * np.sqrt(np.abs(squares)) * FREQUENCY_FACTOR_THZ
