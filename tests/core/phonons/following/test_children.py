"""What came out of a relaxation: its symmetry, and whether it is somebody known."""

import numpy as np
import pytest
from ase import Atoms

from aiida_mlfc.core.phonons.following.children import known_as, same_crystal, symmetrised
from aiida_mlfc.core.phonons.following.displacing import distortions
from aiida_mlfc.core.phonons.following.growing import Relaxed, grown, rooted

from .perovskite import cubic, masses, tilts

VIA = {
    'key': 'm0d0',
    'qpoint': [0.5, 0.5, 0.5],
    'frequency': -2.0,
    'direction': '[1 0 0]',
    'amplitude': 0.1,
    'spacegroup': 'I4/mcm (140)',
}


@pytest.fixture(scope='module')
def tilted():
    """Tilted crystals by space group."""
    found = distortions(cubic(), tilts((0.5, 0.5, 0.5), (0, 1, 2)), masses(), 1e-5)
    return {symmetrised(d.at(0.2)).spacegroup: d.at(0.2) for d in found}


def noisy(atoms, size=1e-4, seed=1):
    moved = atoms.copy()
    moved.positions += size * np.random.default_rng(seed).uniform(-1, 1, moved.positions.shape)
    return moved


def test_noise_of_a_relaxation_is_taken_out(tilted):
    for group, atoms in tilted.items():
        found = symmetrised(noisy(atoms))
        assert found.spacegroup == group
        assert found.ladder['1e-05'] == 'P1 (1)'
        assert len(found.atoms) == 10
    assert len(symmetrised(cubic() * (2, 1, 1)).atoms) == 5


def test_a_distortion_that_counts_stays(tilted):
    slightly = distortions(cubic(), tilts((0.5, 0.5, 0.5), (0, 1, 2)), masses(), 1e-5)[0].at(0.02)
    assert symmetrised(slightly).spacegroup != 'Pm-3m (221)'


def test_same_crystal_in_another_cell_and_orientation(tilted):
    atoms = tilted['I4/mcm (140)']
    other = noisy(atoms * (1, 1, 2))
    turned, _ = np.linalg.qr(np.random.default_rng(2).standard_normal((3, 3)))
    other.set_cell(np.array(other.cell) @ turned, scale_atoms=True)
    assert same_crystal(symmetrised(atoms).atoms, symmetrised(other).atoms)
    for group, crystal in tilted.items():
        assert same_crystal(atoms, crystal) == (group == 'I4/mcm (140)')
    assert not same_crystal(atoms, cubic())


def test_two_descriptions_of_one_crystal():
    """Axes exchanged in a metric that does not tell them apart, small displacements from a smaller cell."""
    cell = np.diag([4.242640687, 4.242640687, 6.0])
    one = Atoms(
        'Al4',
        cell=cell,
        pbc=True,
        scaled_positions=[[0.0431, 0.997, 0], [0.4569, 0.503, 0], [0.503, 0.4569, 0.5], [0.997, 0.0431, 0.5]],
    )
    other = Atoms(
        'Al4',
        cell=cell,
        pbc=True,
        scaled_positions=[[0.003, 0.0431, 0], [0.497, 0.4569, 0], [0.9569, 0.997, 0.5], [0.5431, 0.503, 0.5]],
    )
    assert same_crystal(one, other)


def test_energies_tell_apart_what_looks_alike(tilted):
    found = symmetrised(tilted['R-3c (167)'])
    assert known_as(found, -10.0, [(3, found.atoms, found.spacegroup, -10.01)]) == 3
    assert known_as(found, -10.0, [(3, found.atoms, found.spacegroup, -11.0)]) is None


def test_a_family_grows_by_new_crystals_only(tilted):
    family = rooted(cubic(), -50.0)
    tilted_one, other = tilted['I4/mcm (140)'], tilted['R-3c (167)']
    relaxed = [
        Relaxed(0, VIA, tilted_one, -50.1 * 2),
        Relaxed(0, {**VIA, 'key': 'm0d1'}, noisy(tilted_one, seed=4), -50.1 * 2),
        Relaxed(0, {**VIA, 'key': 'm0d2'}, other, -49.9 * 2),
        Relaxed(0, {**VIA, 'key': 'm0d3'}, noisy(cubic() * (1, 1, 2)), -50.0 * 2),
        Relaxed(0, {**VIA, 'key': 'm0d4'}, None, error='ran away'),
    ]
    found = grown(family, relaxed, {0: 0})
    root, child = found.nodes
    assert (child.parent, child.generation, child.spacegroup) == (0, 1, 'I4/mcm (140)')
    assert child.energy == pytest.approx(-100 / 5)
    reasons = {entry['key']: entry['reason'] for entry in root.dropped}
    assert reasons['m0d1'] == 'is crystal 1'
    assert reasons['m0d2'].startswith('gains nothing: -20.0000 meV/atom')
    assert reasons['m0d3'] == 'fell back to its parent'
    assert 'ran away' in reasons['m0d4']
    assert [entry['key'] for entry in root.dropped if entry['failed']] == ['m0d4']
    assert root.verdict == 'unstable'
    # nothing that came before is changed
    assert family.nodes[0].dropped == []
