"""Cutting many crystals into jobs of equal cost, the same way every time."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping


def cut_shards(costs: Mapping[str, float], target: float, max_crystals: int, concurrent: int = 1) -> list[list[str]]:
    """As few shards as the target allows, balanced: the dearest crystal goes first, each to the cheapest shard so far.

    Where ``max_crystals`` does not bind, no shard is dearer than the mean by more than its dearest crystal. More shards
    than run at the same time come in full rounds, so that no round waits for a single job.

    :param costs: positive, by key.
    :param target: cost that a shard should have; a crystal above it stands alone or among cheap ones.
    :param max_crystals: in one shard.
    :param concurrent: shards that run at the same time.
    :return: keys of each shard, sorted; dearest shard first.
    :raises ValueError: if target or max_crystals is not positive, or a cost is not a positive number.
    """
    if not (target > 0 and max_crystals > 0 and concurrent > 0):
        raise ValueError(f'got target {target}, max_crystals {max_crystals}, concurrent {concurrent}: wanted all > 0')
    if wrong := [key for key, cost in costs.items() if not (cost > 0 and math.isfinite(cost))]:
        raise ValueError(f'{wrong[0]} has the cost {costs[wrong[0]]}, wanted a positive number')
    if not costs:
        return []
    n_shards = max(math.ceil(sum(costs.values()) / target), math.ceil(len(costs) / max_crystals))
    if n_shards > concurrent:
        n_shards = concurrent * math.ceil(n_shards / concurrent)
    n_shards = min(n_shards, len(costs))
    heap: list[tuple[float, int]] = [(0.0, k) for k in range(n_shards)]
    shards: list[list[str]] = [[] for _ in range(n_shards)]
    loads = [0.0] * n_shards
    for key in sorted(costs, key=lambda key: (-costs[key], key)):
        _, k = heapq.heappop(heap)
        shards[k].append(key)
        loads[k] += costs[key]
        if len(shards[k]) < max_crystals:
            heapq.heappush(heap, (loads[k], k))
    order = sorted(range(n_shards), key=lambda k: (-loads[k], k))
    return [sorted(shards[k]) for k in order]
