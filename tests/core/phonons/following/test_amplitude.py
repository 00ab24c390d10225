"""Amplitudes on lines whose minima are known."""

import numpy as np
import pytest

from aiida_mlfc.core.phonons.following.amplitude import FIRST_STEP, line_minimum


@pytest.mark.parametrize('width', [0.02, 0.1, 0.35])
def test_minimum_of_a_double_well(width):
    found = line_minimum(lambda x: -((x / width) ** 2) / 2 + (x / width) ** 4 / 4)
    assert found.amplitude == pytest.approx(width, abs=0.012 * width + 2e-3)
    assert found.gain == pytest.approx(0.25, rel=2e-2)
    assert found.is_bounded


def test_a_line_that_only_rises_gives_the_first_step():
    found = line_minimum(lambda x: x**2)
    assert found.amplitude == FIRST_STEP
    assert found.gain < 0


def test_a_line_that_only_falls_says_so():
    found = line_minimum(lambda x: -x, longest=0.5)
    assert (found.amplitude, found.is_bounded) == (0.5, False)


def test_atoms_on_top_of_each_other_end_the_line():
    def energy(x):
        if x > 0.3:
            raise ValueError('two atoms on one site')
        return -x

    found = line_minimum(energy)
    assert 0.15 < found.amplitude <= 0.3
    assert found.is_bounded
    assert np.isfinite(found.gain)


@pytest.mark.parametrize('nothing', [float('nan'), float('-inf')])
def test_energies_that_are_no_numbers_end_the_line(nothing):
    found = line_minimum(lambda x: nothing if x > 0.3 else -x)
    assert 0.15 < found.amplitude <= 0.3
    assert found.is_bounded
    assert np.isfinite(found.gain)
    with pytest.raises(ValueError, match='energy without displacement'):
        line_minimum(lambda x: nothing)
