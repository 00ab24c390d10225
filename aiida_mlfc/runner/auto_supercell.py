"""The smallest supercell that is large enough, by what is measured and not by its length."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from ase import Atoms

from aiida_mlfc.core.force_constants.from_qpoints import commensurate_qpoints, from_dynamical_matrices
from aiida_mlfc.core.force_constants.irreducible import set_up
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.structures.supercells import supercell_for_length
from aiida_mlfc.runner.engines import QSpace
from aiida_mlfc.runner.truncation import measure_truncation

#: Å; distance between faces of the first supercell that is tried
FIRST_LENGTH = 5.0


class TruncationWarning(UserWarning):
    """No supercell within ``max_atoms`` has a truncation error below the tolerance; the last one was taken."""


def find_supercell(
    atoms: Atoms,
    model: EnergyModel,
    tolerance: float,
    max_atoms: int,
    primitive_matrix: np.ndarray | str = 'auto',
    symprec: float = 1e-5,
    n_qpoints: int = 4,
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """The smallest diagonal supercell whose truncation error is below ``tolerance``.

    Supercells grow by the distance between their faces, one step for each change. Energy and first backward of the
    primitive cell are computed once for all of them.

    :param tolerance: largest truncation error, THz.
    :param max_atoms: the search ends here, with a :class:`TruncationWarning` if nothing smaller was good enough.
    :return: the diagonal matrix, shape ``(3, 3)``, and what was tried, smallest first: ``repeats``, ``n_atoms`` and
        ``truncation_error`` (THz) of each.
    :raises ValueError: if the tolerance is not positive, or ``max_atoms`` does not hold the first supercell.
    """
    if not tolerance > 0:
        raise ValueError(f'tolerance: got {tolerance} THz, wanted a positive number')
    heights = 1 / np.linalg.norm(np.linalg.inv(np.array(atoms.cell)).T, axis=1)
    matrix = supercell_for_length(atoms, FIRST_LENGTH, max_atoms)
    curve: list[dict[str, Any]] = []
    qspace: QSpace | None = None
    while True:
        setup = set_up(atoms, matrix, primitive_matrix, symprec)
        qpoints = commensurate_qpoints(setup)
        qspace = QSpace.of(setup, model, qpoints) if qspace is None else qspace.at(qpoints)
        matrices = qspace.matrices(setup.phonon.primitive.masses)
        measured = {'method': 'autograd', 'dtype': '', 'seconds': 0.0, 'peak_memory': 0.0}
        found = from_dynamical_matrices(setup, matrices, -qspace.engine.gradient.cpu().numpy(), 0, measured)
        error = measure_truncation(found, qspace, n_qpoints).largest
        repeats = matrix.diagonal()
        curve.append(
            {
                'repeats': repeats.tolist(),
                'n_atoms': len(atoms) * int(repeats.prod()),
                'truncation_error': error,
            }
        )
        if error < tolerance:
            return matrix, curve
        following = supercell_for_length(atoms, float((repeats * heights).min()) + 1e-3)
        if len(atoms) * round(np.linalg.det(following)) > max_atoms:
            warnings.warn(
                f'truncation error {error:.3f} THz in the largest supercell of at most {max_atoms} atoms '
                f'({"x".join(map(str, repeats))}), wanted {tolerance} THz: raise max_atoms or the tolerance',
                TruncationWarning,
                stacklevel=3,
            )
            return matrix, curve
        matrix = following
