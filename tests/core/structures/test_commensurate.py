"""Supercells into which waves fit."""

import numpy as np
import pytest
from ase.build import bulk

from aiida_mlfc.core.structures.commensurate import commensurate_supercell


@pytest.mark.parametrize(('qpoint', 'n_cells'), [
    ([0, 0, 0], 1), ([0.5, 0, 0], 2), ([0.25, 0.25, 0.25], 4), ([1 / 3, 0.5, 0], 6), ([-2 / 3, 1 / 3, 0.5], 6),
    ([0.5, 0.25, 0.125], 8), ([1.5, -0.5, 2], 2), ([2 / 7, 3 / 7, 6 / 7], 7),
])
def test_wave_is_periodic_in_the_smallest_supercell(qpoint, n_cells):
    atoms = bulk('NaCl', 'rocksalt', a=5.6)
    found = commensurate_supercell(atoms, np.array(qpoint))
    assert len(found.atoms) == 2 * n_cells
    assert found.cells[0].tolist() == [0, 0, 0]
    assert found.atoms.get_volume() == pytest.approx(n_cells * atoms.get_volume())
    vectors = np.array(found.atoms.cell) @ np.linalg.inv(np.array(atoms.cell))
    np.testing.assert_allclose(vectors, np.rint(vectors), rtol=0, atol=1e-9)
    np.testing.assert_allclose(vectors @ qpoint, np.rint(vectors @ qpoint), rtol=0, atol=1e-9)
    # no two cells are the same one
    scaled = found.cells @ np.linalg.inv(vectors)
    assert len({tuple(np.round(s % 1, 6) % 1) for s in scaled}) == n_cells
    np.testing.assert_allclose(found.atoms.positions[:2], atoms.positions)


@pytest.mark.parametrize(('qpoint', 'message'), [
    ([0.1234567, 0, 0], 'wanted fractions'), ([1 / 7, 1 / 11, 0], '77 cells'),
])
def test_waves_that_fit_nowhere_are_refused(qpoint, message):
    with pytest.raises(ValueError, match=message):
        commensurate_supercell(bulk('Si'), np.array(qpoint))
