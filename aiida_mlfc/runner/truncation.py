"""How wrong a supercell is: frequencies that its force constants interpolate, beside exact ones of the primitive cell.

At the q-points that fit into a supercell both agree; between them the interpolation misses what the supercell folds
back onto itself. No other code can say how much, since it takes exact matrices at q-points that fit nowhere.

An imaginary mode is looked at where it is: long waves that a supercell makes unstable lie nearer to Γ than any point
halfway between its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from phonopy import Phonopy
from phonopy.harmonic.dynmat_to_fc import get_commensurate_points

from aiida_mlfc.core.force_constants.record import ForceConstants
from aiida_mlfc.core.phonons.analysis import MESH_LENGTH
from aiida_mlfc.core.structures.little_group import find_stars
from aiida_mlfc.core.structures.operations import Operations
from aiida_mlfc.runner.bloch_phases import frequencies, hermitian_part
from aiida_mlfc.runner.engines import QSpace

#: q-points at which the error is measured, unless they would cost more than the force constants themselves
DEFAULT_QPOINTS = 4
#: of which at least so many, the longest wave and the shortest
FEWEST_QPOINTS = 2
#: THz below zero, from which on a mode is looked at: rounding at Γ is far smaller
IMAGINARY = 1e-3


@dataclass(frozen=True)
class Truncation:
    """Differences |interpolated - exact| of frequencies, imaginary ones as negative numbers.

    :param qpoints: where, reduced coordinates of the primitive cell, shape ``(n_q, 3)``.
    :param differences: shape ``(n_q, 3 n_prim)``, THz.
    """

    qpoints: np.ndarray
    differences: np.ndarray

    @property
    def largest(self) -> float:
        """THz."""
        return float(self.differences.max())

    @property
    def mean(self) -> float:
        """THz."""
        return float(self.differences.mean())


def points_between(force_constants: ForceConstants, operations: Operations, n_qpoints: int) -> np.ndarray:
    """q-points in the middle between the supercell's, one a star, from the longest wave to the shortest.

    With supercell vectors S = M^T A of primitive vectors A, those that fit are q = M^-T n; in the middle between eight
    of them lies q = M^-T (n + 1/2). Of all stars, ``n_qpoints`` are taken, evenly in order of |q|.

    :return: reduced coordinates, shape ``(n, 3)``, n at most ``n_qpoints``.
    """
    phonon = force_constants.for_frequencies()
    supercell = np.rint(np.linalg.inv(phonon.primitive.primitive_matrix)).astype(int)
    fitting = get_commensurate_points(supercell)
    middle = fitting + np.linalg.solve(supercell.T, np.full(3, 0.5))
    middle -= np.rint(middle)
    arms = np.array([arm.qpoint for arm in find_stars(middle, operations).arms])
    reciprocal = np.linalg.inv(phonon.primitive.cell).T
    # The length of a wave vector is that of its shortest representative.
    shifts = np.stack(np.meshgrid(*([-1, 0, 1],) * 3, indexing='ij'), -1).reshape(-1, 3)
    lengths = np.linalg.norm((arms[:, None] + shifts) @ reciprocal, axis=2).min(axis=1)
    ordered = arms[np.argsort(lengths.round(8), kind='stable')]
    chosen = np.unique(np.linspace(0, len(ordered) - 1, n_qpoints).round().astype(int))
    return np.asarray(ordered[chosen])


def most_unstable(phonon: Phonopy) -> np.ndarray | None:
    """Where on the mesh of the density of states the lowest mode is, reduced coordinates; None if it is real."""
    phonon.run_mesh(MESH_LENGTH, is_gamma_center=True)
    lowest = np.asarray(phonon.mesh.frequencies).min(axis=1)
    k = int(lowest.argmin())
    return np.asarray(phonon.mesh.qpoints)[k] if lowest[k] < -IMAGINARY else None


def measure_truncation(
    force_constants: ForceConstants,
    qspace: QSpace,
    n_qpoints: int = DEFAULT_QPOINTS,
    max_cost: float = math.inf,
) -> Truncation:
    """Exact frequencies between the q-points of the supercell, beside interpolated ones, and at the lowest mode.

    LO-TO splitting is in neither; in both, that of its own charges, where the potential has charges.

    :param qspace: of the same primitive cell and potential.
    :param max_cost: in the unit of :class:`~aiida_mlfc.runner.engines.Costs`; fewer q-points are taken where they would
        cost more, but :data:`FEWEST_QPOINTS` in any case that asks for so many.
    """
    phonon = force_constants.for_frequencies()
    qpoints = points_between(force_constants, qspace.stars.operations, n_qpoints)
    affordable = int(max_cost / qspace.at(qpoints).cost * len(qpoints)) if math.isfinite(max_cost) else n_qpoints
    if affordable < len(qpoints):
        fewer = min(n_qpoints, max(FEWEST_QPOINTS, affordable))
        qpoints = points_between(force_constants, qspace.stars.operations, fewer)
    if (lowest := most_unstable(phonon)) is not None:
        qpoints = np.vstack([qpoints, lowest])
    exact = frequencies(hermitian_part(qspace.at(qpoints).matrices(phonon.primitive.masses)))
    nac_params, phonon.nac_params = phonon.nac_params, qspace.engine.nac_params
    phonon.run_qpoints(qpoints)
    interpolated = np.array(phonon.qpoints.frequencies)
    phonon.nac_params = nac_params
    return Truncation(qpoints, np.abs(interpolated - exact))
