"""Interpolated labels: the folded ones where both exist, phonopy's frequencies in between."""

from dataclasses import replace

import numpy as np
import pytest

from aiida_mlfc.core.potentials.training.harmonic_labels import harmonic_cells
from aiida_mlfc.core.potentials.training.interpolation import interpolated_cell, interpolating_phonopy
from aiida_mlfc.core.structures.sublattices import FoldedCell, fold
from aiida_mlfc.core.units import FREQUENCY_FACTOR_THZ

from ...small_systems import SPECIES


@pytest.fixture(scope='module')
def force_constants(reference) -> np.ndarray:
    return reference.force_constants()


def frequencies(cell: FoldedCell) -> np.ndarray:
    """Γ frequencies of a cell, THz, sorted."""
    n = len(cell.atoms)
    root_masses = np.repeat(np.sqrt(cell.atoms.get_masses()), 3)
    hessian = cell.force_constants.transpose(0, 2, 1, 3).reshape(3 * n, 3 * n) / np.outer(root_masses, root_masses)
    values = np.linalg.eigvalsh((hessian + hessian.T) / 2)
    return np.sign(values) * np.sqrt(np.abs(values)) * FREQUENCY_FACTOR_THZ


@pytest.mark.parametrize('qpoint', [(0, 0, 0), (0.5, 0, 0), (0.5, 0.5, 0)])
def test_on_the_mesh_it_is_folding(reference, force_constants, qpoint):
    phonon = interpolating_phonopy(reference, force_constants)
    interpolated = interpolated_cell(phonon, np.array(qpoint))
    folded = fold(reference.supercell, force_constants, reference.primitive, np.array(qpoint))
    # masses differ in the fifth digit between phonopy's and ASE's tables: both cells use ASE's here
    assert frequencies(interpolated) == pytest.approx(frequencies(folded), abs=1e-4)
    assert frequencies(folded).max() > 1.0


def test_between_the_mesh_it_is_phonopys_interpolation(reference, force_constants):
    qpoint = np.array([1 / 3, 0, 0])
    phonon = interpolating_phonopy(reference, force_constants)
    cell = interpolated_cell(phonon, qpoint)
    assert len(cell.atoms) == 3 * len(reference.primitive)
    phonon.run_qpoints([[0, 0, 0], qpoint, -qpoint])
    expected = np.sort(np.ravel(phonon.qpoints.frequencies))
    # phonopy's masses against ASE's: 1e-4 relative
    assert frequencies(cell) == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_born_charges_follow_their_sites(reference, force_constants):
    """The primitive cell that phonopy makes of the supercell may list its atoms in another order."""
    charges = {symbol: sign * np.eye(3) for symbol, sign in (('Na', 1.1), ('Cl', -1.1))}
    for order in ([0, 1], [1, 0]):
        primitive = reference.primitive[order]
        tensors = np.array([charges[symbol] for symbol in primitive.symbols])
        born = {'born': tensors, 'dielectric': 2.5 * np.eye(3), 'factor': 14.4}
        phonon = interpolating_phonopy(replace(reference, primitive=primitive, born=born), force_constants)
        for symbol, tensor in zip(phonon.primitive.symbols, phonon.nac_params['born'], strict=True):
            assert np.allclose(tensor, charges[symbol])
    moved = reference.primitive.copy()
    moved.positions[1] += 0.1
    with pytest.raises(ValueError, match='sites that the primitive cell does not have'):
        interpolating_phonopy(replace(reference, primitive=moved, born=born), force_constants)


def test_extra_qpoints_add_cells(reference):
    plain = harmonic_cells(reference, 4.0, SPECIES)
    more = harmonic_cells(reference, 4.0, SPECIES, [(1 / 3, 0, 0)])
    assert len(more) == len(plain) + 1
    assert more[-1].graph.n_atoms == 6
