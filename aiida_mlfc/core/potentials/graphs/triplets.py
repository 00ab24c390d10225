"""Triplets: ordered pairs of different edges that share a centre, both within a cutoff."""

from __future__ import annotations

import torch
from torch import Tensor


def find_triplets(centres: Tensor, distances: Tensor, cutoff: float) -> Tensor:
    """All (e, e') with one centre, e != e', both shorter than or equal to ``cutoff``.

    :param centres: centre of each edge, in any order, shape ``(n_edges,)``, int64.
    :param distances: shape ``(n_edges,)``, Å.
    :param cutoff: Å.
    :return: indices of both edges, sorted by the first, then the second, shape ``(n_triplets, 2)``, int64.
    """
    short = torch.nonzero(distances.detach() <= cutoff)[:, 0]
    owner = centres.index_select(0, short)
    order = torch.argsort(owner, stable=True)
    short, owner = short[order], owner[order]
    # Edges of one centre now stand together: an edge meets every member of its group once, itself included.
    _, sizes = torch.unique_consecutive(owner, return_counts=True)
    partners = sizes.repeat_interleave(sizes)
    group_start = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    first = torch.arange(len(short), device=centres.device).repeat_interleave(partners)
    position = torch.arange(len(first), device=centres.device) - (partners.cumsum(0) - partners)[first]
    second = group_start[first] + position
    pairs = torch.stack((short[first], short[second]), dim=1)[first != second]
    # Edges that came unsorted by centre are brought back into the order of the first index.
    return pairs[torch.argsort(pairs[:, 0], stable=True)]
