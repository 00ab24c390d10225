"""One crystal, one potential, force constants: where derivatives of the potential meet supercells and symmetry."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any, Literal

import numpy as np
from ase import Atoms
from phonopy.structure.atoms import PhonopyAtoms

from aiida_mlfc.core.force_constants.from_qpoints import from_dynamical_matrices
from aiida_mlfc.core.force_constants.irreducible import Setup, from_responses, set_up
from aiida_mlfc.core.force_constants.record import ForceConstants, Method
from aiida_mlfc.core.potentials.derivatives.finite_differences import DEFAULT_DISTANCE, difference_responses
from aiida_mlfc.core.potentials.derivatives.gauss_newton import gauss_newton_responses
from aiida_mlfc.core.potentials.derivatives.memory import peak_memory, reset_peak
from aiida_mlfc.core.potentials.derivatives.rows import directional_responses
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph, one_hot_types
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.registry import as_potential
from aiida_mlfc.core.potentials.validity import check_displacement, check_environment
from aiida_mlfc.core.structures.cells import as_ase
from aiida_mlfc.core.structures.checks import check_cell
from aiida_mlfc.runner.engines import Engine, QSpace
from aiida_mlfc.runner.truncation import DEFAULT_QPOINTS, measure_truncation

#: ways to force constants that a potential has
METHODS: tuple[Method, ...] = ('autograd', 'finite_difference', 'gauss_newton')
Progress = Callable[[int, int], None]


def compute_force_constants(
    structure: Atoms | PhonopyAtoms,
    supercell_matrix: Sequence[int] | np.ndarray | Literal['auto'],
    potential: EnergyModel | str | PathLike[str],
    method: Method = 'autograd',
    distance: float = DEFAULT_DISTANCE,
    primitive_matrix: np.ndarray | str = 'auto',
    symprec: float = 1e-5,
    nac_params: dict[str, Any] | None = None,
    progress: Progress | None = None,
    engine: Engine | Literal['auto'] = 'auto',
    truncation_qpoints: int = DEFAULT_QPOINTS,
    tolerance: float = 0.02,
    max_atoms: int = 1500,
) -> ForceConstants:
    """Force constants of one crystal.

    :param structure: the unit cell, relaxed with the same potential.
    :param supercell_matrix: shape ``(3, 3)`` or three diagonal integers; ``auto`` takes the smallest diagonal one whose
        truncation error is below ``tolerance``, see :func:`~aiida_mlfc.runner.auto_supercell.find_supercell`.
    :param potential: a loaded model, or what :func:`~aiida_mlfc.core.potentials.registry.load_potential` takes.
    :param method: ``autograd`` (exact second derivatives), ``finite_difference`` (central differences of forces), or
        ``gauss_newton``, a labelled baseline that is not the Hessian, see
        :mod:`aiida_mlfc.core.potentials.derivatives.gauss_newton`.
    :param distance: step of the finite differences, Å.
    :param primitive_matrix: phonopy's; ``auto`` finds the primitive cell.
    :param symprec: Å.
    :param nac_params: ``born``, ``dielectric``, ``factor`` as phonopy takes them; by default those of the potential's
        own charges, if it has charges.
    :param engine: of ``autograd``: ``rows``, ``qspace``, or the cheaper one, see :mod:`aiida_mlfc.runner.engines`.
    :param truncation_qpoints: number of q-points off the mesh at which the truncation error is measured, fewer where
        they would cost more than the force constants; 0 for none, and none for a potential whose inside cannot be
        reached.
    :param tolerance: THz, for ``auto``.
    :param max_atoms: largest supercell that ``auto`` may take.
    :return: with ``.array``, ``.quality`` and ``.to_phonopy()``.
    :raises ValueError: for an unknown method, engine, element or pair of elements, or a broken structure.
    """
    atoms = as_ase(structure)
    check_cell(atoms)
    model = as_potential(potential)
    if method not in METHODS:
        raise ValueError(f'method: got {method!r}, wanted one of {", ".join(METHODS)}')
    if engine not in ('auto', 'rows', 'qspace'):
        raise ValueError(f"engine: got {engine!r}, wanted 'auto', 'rows' or 'qspace'")
    if engine == 'qspace' and not model.neighbours_only:
        raise ValueError("engine: got 'qspace', which this potential does not allow (neighbours_only): use 'rows'")
    if truncation_qpoints < 0:
        raise ValueError(f'truncation_qpoints: got {truncation_qpoints}, wanted 0 or more')
    # Refusals first: the symmetry search of a supercell takes seconds.
    one_hot_types(atoms.numbers, model.species)
    check_environment(atoms, model.metadata, model.cutoff)
    if method == 'finite_difference':
        check_displacement(distance, model.metadata, 'finite-difference step')
    curve = None
    if isinstance(supercell_matrix, str):
        from aiida_mlfc.runner.auto_supercell import find_supercell

        if supercell_matrix != 'auto':
            raise ValueError(f"supercell_matrix: got {supercell_matrix!r}, wanted integers or 'auto'")
        if not model.neighbours_only:
            raise ValueError(
                "supercell_matrix: 'auto' needs a potential that the q-space engine reaches; give integers"
            )
        supercell_matrix, curve = find_supercell(
            atoms, model, tolerance, max_atoms, primitive_matrix, symprec, max(1, truncation_qpoints)
        )
    setup = set_up(atoms, np.asarray(supercell_matrix), primitive_matrix, symprec)
    if nac_params is None and model.long_range is not None:
        primitive = build_graph(setup.primitive, model.cutoff, model.species, model.dtype, model.device)
        nac_params = model.long_range.nac_params(primitive)
    found, qspace = _computed(setup, model, method, engine, distance, nac_params, progress)
    found = replace(found, quality=replace(found.quality, supercell_search=curve))
    # Without the q-space engine there is nothing exact between the q-points of the supercell to compare with.
    if truncation_qpoints and model.neighbours_only and method != 'gauss_newton':
        qspace = qspace or QSpace.of(setup, model)
        costs = qspace.costs(setup)
        error = measure_truncation(found, qspace, truncation_qpoints, min(costs.rows, costs.qspace))
        quality = replace(
            found.quality,
            truncation_error=error.largest,
            truncation_mean_error=error.mean,
            truncation_qpoints=len(error.qpoints),
        )
        found = replace(found, quality=quality)
    return found


def _computed(
    setup: Setup,
    model: EnergyModel,
    method: Method,
    engine: Engine | Literal['auto'],
    distance: float,
    nac_params: dict[str, Any] | None,
    progress: Progress | None,
) -> tuple[ForceConstants, QSpace | None]:
    started = time.perf_counter()
    reset_peak()
    qspace = None
    if method == 'autograd' and engine != 'rows' and model.neighbours_only:
        qspace = QSpace.of(setup, model)
    if qspace is not None and (engine == 'qspace' or qspace.cheaper(setup) == 'qspace'):
        ends: list[int] = []

        def batch_done(done: int, total: int) -> None:
            ends.append(done)
            if progress is not None:
                progress(done, total)

        matrices = qspace.matrices(setup.phonon.primitive.masses, batch_done)
        at_rest, n_products = -qspace.engine.gradient.cpu().numpy(), qspace.stars.n_products
        measured = _measured(method, model, started) | {'engine': 'qspace', 'n_batches': len(ends)}
        return from_dynamical_matrices(setup, matrices, at_rest, n_products, measured, nac_params), qspace
    if method != 'finite_difference':
        graph = build_graph(setup.supercell, model.cutoff, model.species, model.dtype, model.device)
        respond = directional_responses if method == 'autograd' else gauss_newton_responses
        responses, at_rest = respond(model, graph, setup.atoms, setup.directions, progress)
        measured = _measured(method, model, started) | {'engine': 'rows'}
    else:
        responses, at_rest = difference_responses(
            model, setup.supercell, setup.atoms, setup.directions, distance, progress
        )
        measured = _measured(method, model, started) | {'distance': distance}
    return from_responses(setup, responses, at_rest, measured, nac_params), qspace


def _measured(method: Method, model: EnergyModel, started: float) -> dict[str, Any]:
    """What the quality record says of the computation itself."""
    return {
        'method': method,
        'dtype': str(model.dtype).removeprefix('torch.'),
        'seconds': time.perf_counter() - started,
        'peak_memory': peak_memory(),
    }
