"""Mode Grüneisen parameters, exact: no volumes to choose, no bands to follow between them."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike

import numpy as np
from ase import Atoms
from phonopy.structure.atoms import PhonopyAtoms

from aiida_mlfc.core.potentials.derivatives.mode_derivatives import mode_derivatives
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph, one_hot_types
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.registry import as_potential
from aiida_mlfc.core.potentials.validity import check_environment, check_stress_labels
from aiida_mlfc.core.structures.cells import as_ase, to_phonopy
from aiida_mlfc.core.units import FREQUENCY_FACTOR_THZ

#: THz; at a frequency below, the logarithm of which has no derivative, no parameter is given
ZERO_FREQUENCY = 1e-3


def gruneisen_parameters(
    structure: Atoms | PhonopyAtoms,
    qpoints: np.ndarray,
    potential: EnergyModel | str | PathLike[str],
    progress: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies and mode Grüneisen parameters γ = -d ln ω / d ln V at any q-points.

    γ = -Tr(dω²/dε) / (6 ω²) under isotropic strain: the cell keeps its shape, atoms keep their reduced coordinates and
    are not relaxed at the other volume. Modes of a degenerate block carry the block's mean.

    :param structure: the cell, taken as it is; give the primitive cell for primitive phonons.
    :param qpoints: reduced coordinates in the reciprocal lattice of ``structure``, shape ``(n_q, 3)`` or ``(3,)``.
    :param potential: one that knows stress: a loaded model, or what
        :func:`~aiida_mlfc.core.potentials.registry.load_potential` takes.
    :param progress: called with (done, total) q-points.
    :return: frequencies in THz, imaginary ones negative, and γ, both of shape ``(n_q, 3 n_atoms)``; γ is NaN where the
        frequency is zero (:data:`ZERO_FREQUENCY`), as acoustic ones at Γ are.
    :raises ValueError: for q-points of another shape, an unknown element or pair of elements, a broken structure, or a
        potential whose inside cannot be reached (``neighbours_only``).
    """
    qpoints = np.atleast_2d(np.asarray(qpoints, dtype=float))
    if qpoints.ndim != 2 or qpoints.shape[1] != 3 or not np.isfinite(qpoints).all():
        raise ValueError(f'qpoints: got shape {qpoints.shape}, wanted (n_q, 3) finite numbers')
    atoms = as_ase(structure)
    model = as_potential(potential)
    if not model.neighbours_only:
        raise ValueError(
            'mode Grüneisen parameters need a potential that the q-space engine reaches; this one does not allow it '
            '(neighbours_only): take finite differences of dynamical_matrices at two volumes'
        )
    one_hot_types(atoms.numbers, model.species)
    check_environment(atoms, model.metadata, model.cutoff)
    check_stress_labels(model.metadata, 'a Grüneisen parameter')
    masses = (structure if isinstance(structure, PhonopyAtoms) else to_phonopy(structure)).masses
    graph = build_graph(atoms, model.cutoff, model.species, model.dtype, model.device)
    frequencies, parameters = (np.empty((len(qpoints), 3 * len(atoms))) for _ in range(2))
    for k, q in enumerate(qpoints):
        found = mode_derivatives(model, graph, masses, q, ('strain',))
        assert found.strain is not None
        frequencies[k] = np.sign(found.squares) * np.sqrt(np.abs(found.squares)) * FREQUENCY_FACTOR_THZ
        with np.errstate(divide='ignore', invalid='ignore'):
            parameters[k] = -np.trace(found.strain, axis1=1, axis2=2) / (6 * found.squares)
        if progress is not None:
            progress(k + 1, len(qpoints))
    parameters[np.abs(frequencies) < ZERO_FREQUENCY] = np.nan
    return frequencies, parameters
