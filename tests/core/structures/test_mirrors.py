"""What counts as the mirror of a displacement."""

import numpy as np
import pytest

from aiida_mlfc.core.structures.mirrors import are_one_sided


@pytest.fixture
def random():
    """Eight configurations of six atoms, 0.01 Å."""
    return 0.01 * np.random.default_rng(0).standard_normal((8, 6, 3))


def test_random_displacements_have_none(random):
    assert not are_one_sided(random[1::2], random[::2])
    assert not are_one_sided(random[1::2], random[:0])
    assert not are_one_sided(random[:0], random)


def test_one_mirror_is_enough(random):
    assert are_one_sided(random[:4], np.concatenate([random[4:], -random[2:3]]))
    # not moved, none is anybody's mirror; moved likewise, neither
    still = np.zeros((1, 6, 3))
    assert not are_one_sided(np.concatenate([random[:4], still]), np.concatenate([random[4:], still]))
    assert not are_one_sided(random[:4], random)


def test_pairs_that_stay_together_are_balanced(random):
    """Displacements of phonopy's random kind, an even number and then their mirrors: both halves hold whole pairs."""
    pairs = np.concatenate([random, -random])
    assert not are_one_sided(pairs[1::2], pairs[::2])
    # of an odd number each half has one side
    pairs = np.concatenate([random[:7], -random[:7]])
    assert are_one_sided(pairs[1::2], pairs[::2])


@pytest.mark.parametrize(('error', 'expected'), [(5e-5, True), (2e-3, False)])
def test_positions_are_rounded(error, expected):
    """0.01 Å along x, written with few digits, and another direction beside it."""
    u = np.zeros((1, 6, 3))
    u[0, 2, 0] = 0.01
    mirror = -u
    mirror[0, 4, 1] += error
    assert are_one_sided(u, mirror) is expected
