"""Exact dynamical matrices of one crystal at any q-points, in phonopy's conventions."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike

import numpy as np
from ase import Atoms
from phonopy.structure.atoms import PhonopyAtoms

from aiida_mlfc.core.potentials.derivatives.commensurate_rows import commensurate_force_constants
from aiida_mlfc.core.potentials.derivatives.qspace import BlochForceConstants, star_force_constants
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph, one_hot_types
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.registry import as_potential
from aiida_mlfc.core.potentials.validity import check_environment
from aiida_mlfc.core.structures.cells import as_ase, to_phonopy
from aiida_mlfc.core.structures.little_group import find_stars
from aiida_mlfc.core.structures.operations import identity, operations_of
from aiida_mlfc.runner.bloch_phases import hermitian_part, with_phonopy_phases


def dynamical_matrices(
    structure: Atoms | PhonopyAtoms,
    qpoints: np.ndarray,
    potential: EnergyModel | str | PathLike[str],
    max_memory: float | None = None,
    progress: Callable[[int, int], None] | None = None,
    symprec: float | None = 1e-5,
) -> np.ndarray:
    """Dynamical matrices at any q-points, exact: no supercell, so no truncation and nothing interpolated.

    D_iα,jβ(q) = (m_i m_j)^(-1/2) Σ_S Φ(i α 0; j β S) exp(2πi q·(s_j + S - s_i)), s in reduced coordinates: phonopy's
    phase, so that eigenvectors, too, compare directly. No LO-TO splitting. One q of each star is computed, along the
    directions that its little group leaves, in batches whose size follows from measured memory; see
    :func:`~aiida_mlfc.core.potentials.derivatives.qspace.bloch_force_constants`. A potential that says that its inside
    cannot be reached (``neighbours_only``) is asked through the smallest supercell of each q, which must be a fraction.

    :param structure: the cell, taken as it is; give the primitive cell for primitive phonons. Masses that were set on
        it hold, otherwise phonopy's.
    :param qpoints: reduced coordinates in the reciprocal lattice of ``structure``, shape ``(n_q, 3)``, or ``(3,)`` for
        one.
    :param potential: a loaded model, or what :func:`~aiida_mlfc.core.potentials.registry.load_potential` takes.
    :param max_memory: bytes that a batch may take.
    :param progress: called with (done, total) products.
    :param symprec: Å; the symmetry that is used is the one found within it. None uses none.
    :return: shape ``(n_q, 3 n_atoms, 3 n_atoms)``, complex128, Hermitian, eV/Å²/amu;
        :func:`~aiida_mlfc.runner.bloch_phases.frequencies` reads it.
    :raises ValueError: for q-points of another shape, an unknown element or pair of elements, a broken structure, or
        one that ``symprec`` takes for more symmetric than it is.
    :raises RuntimeError: if Φ(q) misses Hermiticity by more than rounding: the derivatives of the model are not
        those of one energy.
    """
    qpoints = np.atleast_2d(np.asarray(qpoints, dtype=float))
    if qpoints.ndim != 2 or qpoints.shape[1] != 3 or not np.isfinite(qpoints).all():
        raise ValueError(f'qpoints: got shape {qpoints.shape}, wanted (n_q, 3) finite numbers')
    atoms = as_ase(structure)
    model = as_potential(potential)
    one_hot_types(atoms.numbers, model.species)
    check_environment(atoms, model.metadata, model.cutoff)
    operations = identity(len(atoms)) if symprec is None else operations_of(atoms, symprec)
    stars = find_stars(qpoints, operations)
    if model.neighbours_only:
        graph = build_graph(atoms, model.cutoff, model.species, model.dtype, model.device)
        phi = star_force_constants(BlochForceConstants(model, graph), stars, max_memory, progress)
    else:
        phi = commensurate_force_constants(model, atoms, stars, progress=progress)
    masses = (structure if isinstance(structure, PhonopyAtoms) else to_phonopy(structure)).masses
    return hermitian_part(with_phonopy_phases(phi, qpoints, atoms, masses))
