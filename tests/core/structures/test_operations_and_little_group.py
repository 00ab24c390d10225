"""Fields that symmetry leaves, on matrices that have the symmetry of a crystal by construction."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list
from ase.spacegroup import crystal

from aiida_mlfc.core.structures.checks import StructureError
from aiida_mlfc.core.structures.little_group import LARGEST_CONDITION, find_stars, same_qpoint
from aiida_mlfc.core.structures.operations import identity, operations_of

CRYSTALS = {
    'diamond': bulk('Si', 'diamond', a=5.43),
    'diamond cell of 8': bulk('Si', 'diamond', a=5.43, cubic=True),
    'rocksalt': bulk('NaCl', 'rocksalt', a=5.6),
    'hcp': bulk('Mg', 'hcp', a=3.2, c=5.2),
    'wurtzite': bulk('AlN', 'wurtzite', a=3.11, c=4.98, u=0.382),
    'rutile': crystal(['Sn', 'O'], [(0, 0, 0), (0.307, 0.307, 0)], spacegroup=136, cellpar=[4.7, 4.7, 3.2, 90, 90, 90]),
    'quartz': crystal(
        ['Si', 'O'], [(0.47, 0, 1 / 3), (0.41, 0.27, 0.22)], spacegroup=152, cellpar=[4.9, 4.9, 5.4, 90, 90, 120]
    ),
    'inversion only': crystal('CN', [(0.1, 0.2, 0.3), (0.4, 0.7, 0.15)], spacegroup=2, cellpar=[4, 5, 6, 80, 95, 105]),
    # an atom outside the cell: the cells in which images land are not all zero
    'not wrapped': Atoms('CsCl', scaled_positions=[[0, 0, 0], [1.5, -0.5, 2.5]], cell=4.1 * np.eye(3), pbc=True),
}
QPOINTS = np.array(
    [
        [0, 0, 0],
        [0.5, 0, 0],
        [0, 0.5, 0],
        [0.5, 0.5, 0.5],
        [0.5, 0.5, 0],
        [0.2, 0, 0],
        [0.2, 0.2, 0],
        [-0.2, 0, 0.2],
        [1 / 3, 1 / 3, 0],
        [0.1, 0.2, 0.5],
        [0.13, 0.29, -0.41],
        [0.13, -0.41, 0.29],
    ]
)


def springs(atoms: Atoms, q: np.ndarray, cutoff: float = 7.0) -> np.ndarray:
    """Φ(q) of pairs with longitudinal and transverse springs that depend on distance and elements alone."""
    i, j, vectors, shifts = neighbor_list('ijDS', atoms, cutoff)
    r = np.linalg.norm(vectors, axis=1)[:, None, None]
    along = vectors[:, :, None] * vectors[:, None, :] / r**2
    strength = (atoms.numbers[i] + atoms.numbers[j])[:, None, None] * np.exp(-r)
    blocks = strength * (along - 0.3 * np.eye(3) * np.sin(r))
    n = len(atoms)
    phi = np.zeros((n, n, 3, 3), dtype=complex)
    np.add.at(phi, (i, i), blocks)
    np.add.at(phi, (i, j), -blocks * np.exp(2j * np.pi * shifts @ q)[:, None, None])
    phi = phi.transpose(0, 2, 1, 3)
    return phi.reshape(3 * n, 3 * n)


@pytest.fixture(params=CRYSTALS)
def atoms(request):
    return CRYSTALS[request.param]


def test_operations_commute_with_force_constants(atoms):
    """Φ(q') Γ v = Γ Φ(q) v for every operation, at q of all kinds."""
    operations = operations_of(atoms)
    assert np.array_equal(operations.rotations[0], np.eye(3))
    rng = np.random.default_rng(0)
    for q in (QPOINTS[0], QPOINTS[4], QPOINTS[10]):
        field = rng.standard_normal(3 * len(atoms)) + 1j * rng.standard_normal(3 * len(atoms))
        product = springs(atoms, q) @ field
        for g, image in enumerate(operations.images(q)):
            moved = springs(atoms, image) @ operations.moved(g, q, field)
            np.testing.assert_allclose(moved, operations.moved(g, q, product), rtol=0, atol=1e-11)


def test_few_products_give_the_whole_matrix(atoms):
    operations = operations_of(atoms)
    stars = find_stars(QPOINTS, operations)
    matrices = []
    for arm in stars.arms:
        phi = springs(atoms, arm.qpoint)
        assert np.isrealobj(arm.fields) == bool(same_qpoint(arm.qpoint, -arm.qpoint))
        values = np.linalg.svd(arm.images(arm.fields), compute_uv=False)
        assert values[0] < 1.5 * LARGEST_CONDITION * values[-1]
        matrices.append(arm.expanded(arm.fields @ phi.T))
    found = stars.carried(matrices)
    for q, phi in zip(QPOINTS, found, strict=True):
        np.testing.assert_allclose(phi, springs(atoms, q), rtol=0, atol=1e-11)
    everything = find_stars(QPOINTS, identity(len(atoms)))
    assert stars.n_products < everything.n_products


@pytest.mark.parametrize(
    ('name', 'q', 'n_products', 'n_lanes'),
    [
        # one T2g and one T1u of three dimensions
        ('diamond', [0, 0, 0], 1, 1),
        # sodium and chlorine move in the same representation, of three dimensions: one field for both
        ('rocksalt', [0, 0, 0], 1, 1),
        # Δ1 twice and Δ5 twice: two fields, one of which the other gives by inversion with time reversal
        ('rocksalt', [0.2, 0.2, 0], 1, 2),
        # inversion with time reversal relates the two atoms, and nothing else does
        ('diamond', [0.13, 0.29, -0.41], 3, 6),
        ('inversion only', [0.13, 0.29, -0.41], 6, 12),
        ('inversion only', [0.5, 0, 0.5], 6, 6),
    ],
)
def test_numbers_of_products_are_those_of_group_theory(name, q, n_products, n_lanes):
    stars = find_stars(np.array([q]), operations_of(CRYSTALS[name]))
    assert (stars.n_products, stars.n_lanes) == (n_products, n_lanes)


def test_stars_are_found_once():
    arms = find_stars(QPOINTS[[1, 2, 3]], operations_of(CRYSTALS['diamond'])).arms
    assert len(arms) == 1, 'the L points are one star, (1/2, 1/2, 1/2) among them'
    assert len(find_stars(QPOINTS[[10, 11]], operations_of(CRYSTALS['diamond'])).arms) == 1
    assert len(find_stars(np.array([QPOINTS[10], -QPOINTS[10] + 1]), identity(2)).arms) == 1
    assert find_stars(np.empty((0, 3)), identity(2)).n_products == 0


def test_a_symmetry_that_is_not_there_is_noticed():
    atoms = CRYSTALS['rocksalt']
    (arm,) = find_stars(np.zeros((1, 3)), operations_of(atoms)).arms
    phi = springs(atoms, np.zeros(3))
    phi[0, 0] *= 1.1
    with pytest.raises(ValueError, match='contradict the symmetry'):
        arm.expanded(arm.fields @ phi.T)
    with pytest.raises(ValueError, match='contradict the symmetry'):
        arm.expanded(np.full_like(arm.fields, np.nan))


def test_broken_structures_have_no_operations():
    with pytest.raises(StructureError, match='spglib finds no symmetry'):
        operations_of(Atoms('Si2', positions=np.zeros((2, 3)), cell=4 * np.eye(3), pbc=True))
