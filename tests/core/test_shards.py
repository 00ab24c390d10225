"""Shards: nothing lost, nothing twice, balanced, and the same every time."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiida_mlfc.core.shards import cut_shards

COSTS = st.dictionaries(st.text('abcdef', min_size=1, max_size=6), st.floats(1.0, 1e6), min_size=1, max_size=80)


@settings(max_examples=200, deadline=None)
@given(COSTS, st.floats(1.0, 1e7), st.integers(1, 100), st.integers(1, 8))
def test_every_crystal_once_and_never_too_many(costs, target, most, concurrent):
    shards = cut_shards(costs, target, most, concurrent)
    assert sorted(key for shard in shards for key in shard) == sorted(costs)
    assert all(0 < len(shard) <= most for shard in shards)
    if len(shards) > concurrent and len(shards) < len(costs):
        assert len(shards) % concurrent == 0
    # the order in which they come changes nothing
    assert cut_shards(dict(reversed(costs.items())), target, most, concurrent) == shards


@settings(max_examples=200, deadline=None)
@given(COSTS, st.floats(1.0, 1e7), st.integers(1, 8))
def test_balanced_to_within_one_crystal(costs, target, concurrent):
    loads = [sum(costs[key] for key in shard) for shard in cut_shards(costs, target, len(costs), concurrent)]
    mean = sum(costs.values()) / len(loads)
    assert max(loads) <= (mean + max(costs.values())) * (1 + 1e-9)
    assert max(loads) - min(loads) <= max(costs.values()) * (1 + 1e-9)
    assert loads == sorted(loads, reverse=True)
    if len(loads) < len(costs):
        assert mean <= target * (1 + 1e-9)


def test_by_cost_and_not_by_count():
    costs = {'big': 100.0, **{f'small{k}': 1.0 for k in range(100)}}
    assert cut_shards(costs, 100.0, 1000) == [['big'], sorted(key for key in costs if key != 'big')]
    assert cut_shards({}, 1.0, 1) == []


@pytest.mark.parametrize(
    ('costs', 'target', 'most'),
    [({'a': 1.0}, 0.0, 1), ({'a': 1.0}, 1.0, 0), ({'a': 0.0}, 1.0, 1), ({'a': math.nan}, 1.0, 1)],
)
def test_refusals(costs, target, most):
    with pytest.raises(ValueError, match='wanted'):
        cut_shards(costs, target, most)
