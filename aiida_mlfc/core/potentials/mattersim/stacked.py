"""Weights of several layers as one matrix: one product where there were several."""

from __future__ import annotations

import torch
from torch import Tensor


class Stacked:
    """Weights of several linear layers as one matrix, put together again only after one of them has changed."""

    def __init__(self) -> None:
        # Detached aliases keep the memory, so that an equal address is the same tensor.
        self._sources: list[tuple[Tensor, int]] = []
        self._result = torch.empty(0)

    def __call__(self, *weights: Tensor) -> Tensor:
        """:param weights: shape ``(n_k, n_in)`` each.  :return: shape ``(sum n_k, n_in)``."""
        learns = torch.is_grad_enabled() and any(w.requires_grad for w in weights)
        if learns or torch.compiler.is_compiling():
            return torch.cat(weights)
        is_known = len(self._sources) == len(weights) and all(
            w.data_ptr() == source.data_ptr() and w._version == version
            for w, (source, version) in zip(weights, self._sources, strict=True)
        )
        if not is_known:
            self._sources = [(w.detach(), w._version) for w in weights]
            self._result = torch.cat([source for source, _ in self._sources])
        return self._result
