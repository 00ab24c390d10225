"""Errors taken apart, and averaged over materials."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk

from aiida_mlfc.core.comparison.aggregate import METRICS, aggregate
from aiida_mlfc.core.comparison.compare import compare
from aiida_mlfc.core.comparison.split import split
from aiida_mlfc.core.force_constants.record import ForceConstants

from .crystals import QUALITY, force_constants_of

ALUMINIUM = bulk('Al', 'fcc', a=4.05)


def quickly(a, b, name=''):
    """On a coarse mesh."""
    return compare(a, b, name, mesh_length=10.0, points_per_segment=4).summary


@pytest.fixture(scope='module')
def reference():
    return force_constants_of(ALUMINIUM, (2, 2, 2))


def test_parts_of_an_error_that_is_known(reference):
    """The model is 21 % too stiff; its differences are off by the square of the step; relaxed it is 44 % too stiff."""
    exact = force_constants_of(ALUMINIUM, (2, 2, 2), stretch=1.21)
    steps = {h: replace(exact, array=exact.array * (1 + 3.0 * h**2), _phonopy=[]) for h in (0.01, 0.02)}
    relaxed = ForceConstants(
        reference.array * 1.44, bulk('Al', 'fcc', a=4.10), reference.supercell_matrix, np.eye(3), QUALITY
    )
    found, whole = split(reference, exact, steps, relaxed)
    assert found.model.relative_frobenius == pytest.approx(0.21, rel=1e-9)
    assert found.total.relative_frobenius == pytest.approx(0.44, rel=1e-9)
    assert found.relaxation.relative_frobenius == pytest.approx(0.23 / 1.21, rel=1e-9)
    assert found.numerical[0.01].relative_frobenius == pytest.approx(3e-4, rel=1e-6)
    assert found.numerical_order == pytest.approx(2.0, abs=1e-6)
    assert whole.summary.force_constants.relative_frobenius == found.model.relative_frobenius
    assert set(found.to_dict()['numerical']) == {'0.01', '0.02'}


def test_nothing_to_take_apart(reference):
    found, _ = split(reference, reference)
    assert found.model.frequency_mae == 0
    assert found.relaxation is None
    assert found.numerical_order is None


@pytest.fixture(scope='module')
def comparisons(reference):
    """Aluminium twice with other functionals, and copper: 10 % and 20 %, and 30 % in frequency."""
    other = force_constants_of(ALUMINIUM, (2, 2, 2), seed=1)
    copper = force_constants_of(bulk('Cu', 'fcc', a=3.61), (2, 2, 2))
    return [
        quickly(a, replace(a, array=a.array * factor**2, _phonopy=[]), name)
        for name, a, factor in (('one', reference, 1.1), ('two', other, 1.2), ('three', copper, 1.3))
    ]


def test_materials_count_once_however_many_references_they_have(comparisons):
    found = aggregate('x', comparisons, n_failed=2, seconds=3.0)
    assert (found.n_references, found.n_materials, found.n_failed, found.n_duplicates) == (3, 2, 2, 0)
    assert set(found.errors) == set(METRICS)
    first, second, third = (c.mesh.mae for c in comparisons)
    estimate = found.errors['frequency_mae_THz']
    assert estimate.mean == pytest.approx(((first + second) / 2 + third) / 2)
    assert estimate.low <= estimate.mean <= estimate.high
    assert estimate.low == pytest.approx(min((first + second) / 2, third))


def test_a_reference_given_twice_counts_once(comparisons):
    once, twice = aggregate('x', comparisons), aggregate('x', [*comparisons, replace(comparisons[0], name='again')])
    assert twice.n_duplicates == 1
    assert twice.errors == once.errors


def test_intervals_are_those_of_the_mean():
    """200 made-up materials: the half width of the interval is 1.96 standard errors."""
    base = quickly(*[force_constants_of(ALUMINIUM, (2, 2, 2))] * 2)
    values = np.random.default_rng(0).exponential(size=200)
    many = [
        replace(base, formula=f'X{k}', max_frequency_error_kelvin=float(v), a=replace(base.a, entropy=float(k)))
        for k, v in enumerate(values)
    ]
    estimate = aggregate('x', many).errors['max_frequency_K']
    assert estimate.mean == pytest.approx(values.mean())
    assert (estimate.high - estimate.low) / 2 == pytest.approx(1.96 * values.std() / np.sqrt(200), rel=0.1)


def test_confusion_of_an_unstable_crystal_that_is_found_stable(reference):
    """Springs turned round are unstable at every threshold."""
    unstable = replace(reference, array=-reference.array, _phonopy=[])
    pairs = [(reference, reference), (unstable, reference), (unstable, unstable)]
    summaries = [
        replace(quickly(a, b), formula=f'X{k}') for k, (a, b) in enumerate(pairs)
    ]
    assert not summaries[1].row()['stable_a']
    assert summaries[1].row()['stable_b']
    confusion = aggregate('x', summaries).confusion['loew_50K']
    assert confusion.counts == {
        'stable_stable': 1, 'stable_unstable': 0, 'unstable_stable': 1, 'unstable_unstable': 1,
    }
    assert confusion.stable_kept == 1
    assert confusion.unstable_kept == 0.5
