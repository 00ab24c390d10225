"""A potential against DFT configurations it never saw: forces, force constants, frequencies, each beside zero."""

from __future__ import annotations

from typing import Any

import numpy as np
from phonopy import Phonopy

from aiida_mlfc.core.comparison.card_metrics import (
    OF_ALL,
    REFERENCE_CONSTANTS,
    card_frequencies,
    compared_configurations,
)
from aiida_mlfc.core.potentials.derivatives.energy_derivatives import energy_forces, energy_forces_stress
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.relaxation.elastic import elastic_constants
from aiida_mlfc.core.potentials.training.interpolation import interpolating_phonopy
from aiida_mlfc.core.potentials.training.labels_between import ACOUSTIC, MOST_BETWEEN, qpoints_between
from aiida_mlfc.core.potentials.training.references import Reference
from aiida_mlfc.core.structures.cells import to_ase, to_phonopy
from aiida_mlfc.runner.bloch_phases import frequencies
from aiida_mlfc.runner.dynamical_matrices import dynamical_matrices
from aiida_mlfc.runner.force_constants import compute_force_constants


def evaluate(model: EnergyModel, reference: Reference) -> dict[str, Any]:
    """Errors on the configurations of ``reference``, in one flat row; every error has its unit in its name.

    The reference force constants are fitted to these configurations alone, or to all of the set where these are mirrors
    of those learned, which the row says; where force constants are given and no configurations, they are what is
    compared with, and there are no errors of forces. Frequencies are compared at the geometry of the reference, without
    NAC on either side; those *between* are the potential's own at wave vectors that the supercell of the reference does
    not hold, against phonopy's interpolation (:func:`_between`). The lowest elastic constant is the smallest eigenvalue
    of the potential's elastic tensor, ions relaxed: below zero the crystal gives way to some strain.

    :param reference: configurations held back from training, or force constants.
    """
    chosen = compared_configurations(len(reference.forces))
    errors, of_energy = [], []
    for k in chosen:
        moved = reference.supercell.copy()
        moved.positions += reference.displacements[k]
        graph = build_graph(moved, model.cutoff, model.species, model.dtype, model.device)
        energy, forces = energy_forces(model, graph)[:2]
        errors.append(forces.cpu().numpy() - reference.forces[k])
        if reference.energies is not None:
            of_energy.append((float(energy[0]) - reference.energies[k]) / len(moved))
    inverse = np.linalg.inv(np.array(reference.supercell.cell))
    primitive_matrix = (np.array(reference.primitive.cell) @ inverse).T
    found = compute_force_constants(reference.supercell, [1, 1, 1], model, primitive_matrix=primitive_matrix)
    ours = found.to_phonopy()
    theirs = Phonopy(to_phonopy(reference.supercell), [1, 1, 1], primitive_matrix=primitive_matrix, log_level=0)
    theirs.force_constants = reference.force_constants()[ours.primitive.p2s_map]
    difference = found.array - theirs.force_constants
    on_mesh = card_frequencies(ours, theirs)
    graph = build_graph(reference.primitive, model.cutoff, model.species, model.dtype, model.device)
    _, at_rest, stress = energy_forces_stress(model, graph)
    between, expected = _between(model, reference)
    return {
        'material': reference.name,
        'n_configurations': len(reference.forces),
        **({} if reference.whole is None else {REFERENCE_CONSTANTS: OF_ALL}),
        **_of_forces(errors, reference.forces[chosen]),
        'relative_frobenius_percent': 100 * float(np.linalg.norm(difference) / np.linalg.norm(theirs.force_constants)),
        'relative_frobenius_predict_zero_percent': 100.0,
        'frequency_mae_THz': on_mesh.mae,
        'frequency_predict_zero_THz': on_mesh.predict_zero,
        'frequency_max_error_THz': on_mesh.max,
        'min_frequency_THz': on_mesh.lowest,
        'min_frequency_DFT_THz': on_mesh.lowest_reference,
        'frequency_between_mae_THz': float(np.abs(between - expected).mean()),
        'min_frequency_between_THz': float(between.min()),
        'min_frequency_between_DFT_THz': float(expected.min()),
        'lowest_elastic_constant_GPa': float(np.linalg.eigvalsh(elastic_constants(reference.primitive, model))[0]),
        'max_stress_GPa': float(stress.abs().max()),
        'max_force_at_rest_meV_per_A': 1000 * float(at_rest.abs().max()),
        **({'energy_rmse_meV_per_atom': 1000 * float(np.sqrt(np.mean(np.square(of_energy))))} if of_energy else {}),
    }


def _of_forces(errors: list[np.ndarray], forces: np.ndarray) -> dict[str, float]:
    """Root mean squares of errors and forces of the same configurations; nothing where there are none."""
    if not errors:
        return {}
    return {
        'force_rmse_meV_per_A': 1000 * float(np.sqrt(np.mean(np.square(errors)))),
        'force_predict_zero_meV_per_A': 1000 * float(np.sqrt(np.mean(np.square(forces)))),
    }


def _between(model: EnergyModel, reference: Reference) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies halfway between the q-points of the supercell: exact ones of the potential, interpolated DFT; THz.

    Where Born charges are known and the potential has none, acoustic branches are interpolated with them and optical
    ones without, as they are learned (:mod:`~aiida_mlfc.core.potentials.training.labels_between`).
    """
    qpoints = qpoints_between(reference)[:MOST_BETWEEN]
    phonon = interpolating_phonopy(reference, reference.force_constants())
    phonon.run_qpoints(qpoints)
    expected = np.sort(phonon.qpoints.frequencies, axis=1)
    if model.long_range is None and phonon.nac_params is not None:
        phonon.nac_params = None
        phonon.run_qpoints(qpoints)
        expected[:, ACOUSTIC:] = np.sort(phonon.qpoints.frequencies, axis=1)[:, ACOUSTIC:]
    found = frequencies(dynamical_matrices(to_ase(phonon.primitive), qpoints, model))
    return np.sort(found, axis=1), expected
