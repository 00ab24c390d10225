"""Where rows meet force constants: one crystal, one potential, exact second derivatives."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from phonopy.structure.atoms import PhonopyAtoms

from aiida_mlfc.core.force_constants.irreducible import from_responses, set_up
from aiida_mlfc.core.force_constants.record import ForceConstants, Method
from aiida_mlfc.core.potentials.derivatives.finite_differences import DEFAULT_DISTANCE, difference_responses
from aiida_mlfc.core.potentials.derivatives.rows import directional_responses
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph, one_hot_types
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.registry import load_potential
from aiida_mlfc.core.potentials.validity import check_displacement, check_environment
from aiida_mlfc.core.structures.cells import as_ase


def compute_force_constants(
    structure: Atoms | PhonopyAtoms,
    supercell_matrix: Sequence[int] | np.ndarray,
    potential: EnergyModel | str,
    method: Method = 'autograd',
    distance: float = DEFAULT_DISTANCE,
    primitive_matrix: np.ndarray | str = 'auto',
    symprec: float = 1e-5,
    nac_params: dict[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ForceConstants:
    """Force constants of one crystal.

    :param structure: the unit cell, relaxed with the same potential.
    :param supercell_matrix: shape ``(3, 3)`` or three diagonal integers.
    :param potential: a loaded model, or what :func:`load_potential` takes.
    :param method: ``autograd`` (exact Hessian rows) or ``finite_difference`` (central differences of forces).
    :param distance: step of the finite differences, Å.
    :param primitive_matrix: phonopy's; ``auto`` finds the primitive cell.
    :param symprec: Å.
    :param nac_params: ``born``, ``dielectric``, ``factor`` as phonopy takes them.
    :return: with ``.array``, ``.quality`` and ``.to_phonopy()``.
    :raises ValueError: for an unknown method, element or pair of elements, or a broken structure.
    """
    atoms = as_ase(structure)
    model = load_potential(potential) if isinstance(potential, str) else potential
    if method not in ('autograd', 'finite_difference'):
        raise ValueError(f"method: got {method!r}, wanted 'autograd' or 'finite_difference'")
    # Refusals first: the symmetry search of a supercell takes seconds.
    one_hot_types(atoms.numbers, model.species)
    check_environment(atoms, model.metadata, model.cutoff)
    setup = set_up(atoms, np.asarray(supercell_matrix), primitive_matrix, symprec)
    started = time.perf_counter()
    if method == 'autograd':
        graph = build_graph(setup.supercell, model.cutoff, model.species, model.dtype, model.device)
        responses, at_rest = directional_responses(model, graph, setup.atoms, setup.directions, progress)
    else:
        check_displacement(distance, model.metadata, 'finite-difference step')
        responses, at_rest = difference_responses(
            model, setup.supercell, setup.atoms, setup.directions, distance, progress
        )
    measured = {
        'method': method,
        'dtype': str(model.dtype).removeprefix('torch.'),
        'seconds': time.perf_counter() - started,
        # ru_maxrss is in KiB on Linux
        'peak_memory': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        'distance': distance if method == 'finite_difference' else None,
    }
    return from_responses(setup, responses, at_rest, measured, nac_params)
