"""Processes that train one model together: each draws batches of its own, and the mean of their gradients is the step.

The names are those of torch.distributed and torchrun. Alone, a process is rank 0 of 1 and none of this does anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, distributed, nn

#: s; others wait for as long while the first one validates. One that died is noticed by whoever started it
PATIENCE = 86_400.0


@dataclass(frozen=True)
class Ranks:
    """This process among them.

    :param rank: its number, from 0; the first one validates, reports and writes the state.
    :param world_size: how many there are.
    """

    rank: int = 0
    world_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether it is the one that speaks."""
        return self.rank == 0

    @property
    def _is_by_itself(self) -> bool:
        """Whether there are no others, or they are gone: one process alone reads what all of them left."""
        return self.world_size == 1 or not distributed.is_initialized()

    def generator(self, seed: int) -> np.random.Generator:
        """The random stream of this process; alone, that of the seed."""
        return np.random.default_rng(seed if self.world_size == 1 else [seed, self.rank])

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace gradients by their means over all processes; where a batch reached no parameter it counts as zero.

        :raises RuntimeError: if the others were not met, see :func:`joined`.
        """
        if self.world_size == 1:
            return
        if not distributed.is_initialized():
            raise RuntimeError(f'this is one of {self.world_size} processes, and the others are not connected')
        chosen = [p for p in parameters if p.requires_grad]
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in chosen])
        distributed.all_reduce(flat)
        flat /= self.world_size
        start = 0
        for p in chosen:
            p.grad = flat[start : start + p.numel()].reshape(p.shape).clone()
            start += p.numel()

    def of_the_first(self, *values: float) -> tuple[float, ...]:
        """What the first process has, for all; decisions must be the same everywhere."""
        if self._is_by_itself:
            return values
        shared = [values if self.is_first else None]
        distributed.broadcast_object_list(shared)
        assert shared[0] is not None
        return shared[0]

    def start_together(self, tensors: Iterable[Tensor]) -> None:
        """Give all processes the tensors of the first one, in place."""
        if self._is_by_itself:
            return
        for tensor in tensors:
            distributed.broadcast(tensor, 0)

    def all_of(self, text: str) -> list[str]:
        """The text of every process, in their order."""
        if self._is_by_itself:
            return [text]
        found: list[str | None] = [None] * self.world_size
        distributed.all_gather_object(found, text)
        return [str(part) for part in found]


@contextmanager
def joined(rank: int, world_size: int, store: Path, device: str = 'cpu') -> Iterator[Ranks]:
    """Meet the other processes, and part from them at the end.

    :param store: a file that does not exist yet and that all of them can reach.
    :param device: of the model; NCCL connects GPUs, Gloo everything else.
    """
    backend = 'nccl' if device.startswith('cuda') else 'gloo'
    distributed.init_process_group(
        backend,
        init_method=f'file://{store.resolve()}',
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=PATIENCE),
    )
    try:
        yield Ranks(rank, world_size)
    finally:
        distributed.destroy_process_group()
