"""The stability curve on frequencies written by hand."""

import numpy as np
import pytest

from aiida_mlfc.core.phonons.stability import COMMUNITY_THRESHOLDS, NOISE_SAFETY, THRESHOLDS, noise_floor, stability

GAMMA, X = [0.0, 0.0, 0.0], [0.5, 0.0, 0.0]
AT_X = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


def judged(gamma, noise=1e-3, x=AT_X):
    return stability(
        np.array([gamma, x]), np.array([GAMMA, X]), np.array([1, 7]), np.array([AT_X]), np.array([X]), noise
    )


@pytest.mark.parametrize('noise', [[-1e-4, 2e-5, 1e-6], [1e-5, 1e-5, 1e-5], [-0.01, -0.02, -0.03]])
def test_acoustic_modes_at_gamma_do_not_count(noise):
    found = judged([*noise, 4.0, 5.0, 6.0])
    assert found.min_frequency == 1.0
    assert found.unstable_fraction.max() == 0
    assert found.verdicts == dict.fromkeys(COMMUNITY_THRESHOLDS, 'stable')


def test_optical_mode_at_gamma_counts():
    """A ferroelectric: lower than the acoustic modes, so sorting by value would hide it among them."""
    found = judged([-4.0, -1e-4, 1e-5, 2e-5, 5.0, 6.0])
    assert found.min_frequency == -4.0
    assert found.min_frequency_qpoint == (0.0, 0.0, 0.0)
    assert found.verdicts == dict.fromkeys(COMMUNITY_THRESHOLDS, 'unstable')
    # one of 6 modes at a point of weight 1 of 8
    assert found.unstable_fraction[-1] == pytest.approx(1 / 48)
    assert found.unstable_fraction[0] == pytest.approx(1 / 48)


def test_gamma_is_known_in_every_zone():
    mesh = np.array([[-1e-3, 1e-4, 1e-4, 4.0, 5.0, 6.0]])
    found = stability(mesh, np.array([[1.0, 0.0, -1.0]]), np.array([1]), np.array([AT_X]), np.array([X]), 1e-6)
    assert found.min_frequency == 1.0


def test_minimum_may_lie_on_the_path():
    found = stability(
        np.array([AT_X]), np.array([X]), np.array([1]), np.array([[-0.2, *AT_X[1:]]]), np.array([[0.3, 0.0, 0.0]]), 1e-3
    )
    assert found.min_frequency == -0.2
    assert found.min_frequency_qpoint == (0.3, 0.0, 0.0)
    assert found.unstable_fraction.max() == 0
    assert found.verdicts == {
        'zero': 'unstable',
        'strict_0.05THz': 'unstable',
        'mp_5cm-1': 'unstable',
        'mattersim_0.3THz': 'stable',
    }


@pytest.mark.parametrize(('noise', 'verdict'), [(1e-4, 'unstable'), (0.02, 'stable')])
def test_within_the_noise_nothing_is_unstable(noise, verdict):
    found = judged([0, 0, 0, 4.0, 5.0, 6.0], noise, x=[-0.01, *AT_X[1:]])
    assert found.verdicts['zero'] == verdict
    assert found.noise_floor == noise


def test_curve_is_weighted_and_grows():
    found = judged([0, 0, 0, 4.0, 5.0, 6.0], x=[-2.0, -1.0, -0.1, 4.0, 5.0, 6.0])
    share = dict(zip(THRESHOLDS.round(2), found.unstable_fraction, strict=True))
    assert share[-3.0] == 0
    assert share[-1.5] == pytest.approx(7 / 48)
    assert share[-0.5] == pytest.approx(14 / 48)
    assert share[0.0] == pytest.approx(21 / 48)


@pytest.mark.parametrize(
    ('residual', 'dtype', 'error'),
    [
        (1e-6, 'float64', 1e-6),
        (0.0, 'float64', 1e-13),
        (0.0, 'float32', 1e-5),
    ],
)
def test_noise_floor(residual, dtype, error):
    """sqrt(δ/m): the measured residual, or rounding of the largest force constant, 10 eV/Å² here."""
    wanted = np.sqrt(NOISE_SAFETY * error / 4) * 15.633302
    assert noise_floor(10.0, 4.0, residual, dtype) == pytest.approx(wanted, rel=1e-6)


def test_what_is_no_number_is_never_stable():
    with pytest.raises(ValueError, match='not finite numbers'):
        judged([0, 0, 0, np.nan, 5.0, 6.0])
    with pytest.raises(ValueError, match='not finite numbers'):
        judged([0, 0, 0, 4.0, 5.0, 6.0], noise=np.nan)
    with pytest.raises(ValueError, match='residual of nan'):
        noise_floor(10.0, 4.0, np.nan, 'float64')
    with pytest.raises(ValueError, match='lightest mass of 0'):
        noise_floor(10.0, 0.0, 0.0, 'float64')
