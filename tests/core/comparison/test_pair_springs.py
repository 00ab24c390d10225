"""The pair-potential baseline: exact where the crystal is one of pairs, the sum rule kept, smaller elsewhere."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from phonopy import Phonopy

from aiida_mlfc.core.comparison.pair_springs import pair_springs
from aiida_mlfc.core.structures.cells import to_phonopy


def of_pairs(atoms: Atoms, n: int, second: float, first: float) -> Phonopy:
    """A crystal in which nearest neighbours have φ'' = ``second`` and φ'/d = ``first``, eV/Å²; images are summed."""
    phonon = Phonopy(to_phonopy(atoms), np.diag([n, n, n]), primitive_matrix='P', log_level=0)
    vectors, multiplicity = phonon.primitive.get_smallest_vectors()
    vectors = vectors @ phonon.primitive.cell
    p2s = phonon.primitive.p2s_map
    nearest = min(np.linalg.norm(v) for v in vectors if np.linalg.norm(v) > 0.1)
    array = np.zeros((len(p2s), len(phonon.supercell), 3, 3))
    for i, own in enumerate(p2s):
        for j in range(len(phonon.supercell)):
            count, start = multiplicity[j, i]
            for v in vectors[start : start + count]:
                if j != own and np.linalg.norm(v) < nearest + 0.01:
                    along = np.outer(v, v) / (v @ v)
                    array[i, j] -= second * along + first * (np.eye(3) - along)
        array[i, own] = -array[i].sum(axis=0)
    phonon.force_constants = array
    return phonon


@pytest.mark.parametrize('n', [2, 3], ids=['images at the boundary', 'inside'])
@pytest.mark.parametrize('atoms', [bulk('Ar', 'fcc', a=5.3), bulk('NaCl', 'rocksalt', a=5.6)], ids=['fcc', 'rock salt'])
def test_a_pair_potential_is_found_exactly(atoms, n):
    phonon = of_pairs(atoms, n, 1.3, -0.08)
    assert np.abs(pair_springs(phonon) - phonon.force_constants).max() < 1e-12
    assert np.abs(phonon.force_constants).max() > 1


def test_what_is_no_pair_potential_is_left():
    """A bond that resists bending couples atoms otherwise than along and across their own direction."""
    phonon = of_pairs(bulk('NaCl', 'rocksalt', a=5.6), 3, 1.0, 0.1)
    exact = phonon.force_constants.copy()
    rng = np.random.default_rng(0)
    phonon.force_constants = exact + 0.05 * rng.standard_normal(exact.shape)
    fitted = pair_springs(phonon)
    assert np.abs(fitted.sum(axis=1)).max() < 1e-12
    left = np.linalg.norm(fitted - phonon.force_constants) / np.linalg.norm(phonon.force_constants)
    assert 0.01 < left < 1
    # least squares in each shell: neither of what is left lies in what springs can do
    assert np.linalg.norm(fitted - exact) < np.linalg.norm(phonon.force_constants - exact)


def test_full_and_compact_force_constants_are_the_same():
    phonon = of_pairs(bulk('Ar', 'fcc', a=5.3), 2, 1.0, 0.0)
    compact = pair_springs(phonon)
    full = np.zeros((8, 8, 3, 3))
    full[phonon.primitive.p2s_map] = phonon.force_constants
    phonon.force_constants = full
    assert np.array_equal(pair_springs(phonon), compact)
