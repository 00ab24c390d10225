"""Isotropy subgroups of the perovskite's tilts (A. M. Glazer, 1972) and polar modes: textbook knowledge."""

import numpy as np
import pytest
from ase.build import bulk

from aiida_mlfc.core.phonons.following.displacing import distortions
from aiida_mlfc.core.phonons.following.modes import ImaginaryMode
from aiida_mlfc.core.structures.cells import to_phonopy
from aiida_mlfc.core.structures.symmetry import spacegroup

from .perovskite import cubic, masses, polar, tilts


@pytest.mark.parametrize(
    ('mode', 'n_atoms', 'wanted'),
    [
        # a0a0c-, a0b-b-, a-a-a-
        (
            tilts((0.5, 0.5, 0.5), (0, 1, 2)),
            10,
            {'[1 0 0]': 'I4/mcm (140)', '[1 1 0]': 'Imma (74)', '[1 1 1]': 'R-3c (167)'},
        ),
        # a0a0c+
        (tilts((0.5, 0.5, 0.0), (2,)), 10, {'[1]': 'P4/mbm (127)'}),
        (polar(), 5, {'[1 0 0]': 'P4mm (99)', '[1 1 0]': 'Amm2 (38)', '[1 1 1]': 'R3m (160)'}),
    ],
    ids=['R', 'M', 'polar'],
)
def test_space_groups_of_tilts_and_polar_modes(mode, n_atoms, wanted):
    found = distortions(cubic(), mode, masses(), 1e-5)
    assert {d.direction.label: spacegroup(d.at(0.1)) for d in found} == wanted
    for d in found:
        assert len(d.supercell) == n_atoms
        assert np.linalg.norm(d.field, axis=1).max() == pytest.approx(1.0)


def test_choice_of_degenerate_eigenvectors_does_not_matter():
    """eigh mixes degenerate vectors as it likes, with complex phases."""
    mode = tilts((0.5, 0.5, 0.5), (0, 1, 2))
    rng = np.random.default_rng(3)
    mixing, _ = np.linalg.qr(rng.standard_normal((3, 3)) + 1j * rng.standard_normal((3, 3)))
    turned = ImaginaryMode(mode.qpoint, mode.frequency, mixing @ mode.eigenvectors)
    groups = {spacegroup(d.at(0.1)) for d in distortions(cubic(), turned, masses(), 1e-5)}
    assert groups == {'I4/mcm (140)', 'Imma (74)', 'R-3c (167)'}


def test_part_of_a_degenerate_set_is_refused():
    mode = tilts((0.5, 0.5, 0.5), (0, 1, 2))
    part = ImaginaryMode(mode.qpoint, mode.frequency, mode.eigenvectors[:2])
    with pytest.raises(RuntimeError, match='not closed'):
        distortions(cubic(), part, masses(), 1e-5)


def test_opposite_directions_that_no_operation_joins_are_both_followed():
    """Two atoms of diamond along a body diagonal, towards a bond or away from it: different crystals."""
    atoms = bulk('Si', 'diamond', a=5.43)
    patterns = np.array([[axis, -axis] for axis in np.eye(3)])
    vectors = patterns.reshape(3, 6) / np.sqrt(2) + 0j
    mode = ImaginaryMode(np.zeros(3), -1.0, vectors)
    silicon = to_phonopy(atoms).masses
    found = distortions(atoms, mode, silicon, 1e-5)
    groups = {}
    for d in found:
        groups.setdefault(spacegroup(d.at(0.2)), []).append(d)
    assert {group: len(ds) for group, ds in groups.items()} == {'R-3m (166)': 2, 'Imma (74)': 1}
    shortest = sorted(d.at(0.2).get_distance(0, 1, mic=True) for d in groups['R-3m (166)'])
    assert shortest[0] < 5.43 * 3**0.5 / 4 - 0.1
    assert len(distortions(atoms, mode, silicon, 1e-5, most=1)) == 2


def test_most_symmetric_directions_are_kept():
    (only,) = distortions(cubic(), polar(), masses(), 1e-5, most=1)
    assert spacegroup(only.at(0.1)) in ('P4mm (99)', 'R3m (160)', 'Amm2 (38)')
    assert only.direction.n_operations == max(
        d.direction.n_operations for d in distortions(cubic(), polar(), masses(), 1e-5)
    )
