"""Memory that is refused inside Python: recognised whoever says so, tried again with less, then stated."""

from __future__ import annotations

import gc
import re
import traceback

#: how torch, CUDA, numpy and HDF5 say it
_SAID = re.compile(r"cannot allocate memory|can't allocate|not enough memory|out of memory|unable to allocate", re.I)


class OutOfMemoryError(MemoryError):
    """There was not enough memory for the structure; the message says how much was there."""


def is_out_of_memory(error: object) -> bool:
    """Whether an exception means that memory was refused."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(_SAID.search(str(error))))


def let_go(error: BaseException) -> None:
    """Free what the frames of an exception still hold, and what CUDA keeps for later."""
    traceback.clear_frames(error.__traceback__)
    gc.collect()
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def stated(error: BaseException, used: float, available: float, n_tries: int) -> OutOfMemoryError:
    """What is said of a structure that does not fit.

    :param used: MiB that the process had at its largest.
    :param available: MiB that could be had when it failed.
    """
    said = ' '.join(str(error).split()) or type(error).__name__
    tries = 'also with the least memory' if n_tries > 1 else 'in a batch of its own'
    return OutOfMemoryError(
        f'out of memory, {tries}: the process had {used:.0f} MiB and asked for more where {available:.0f} MiB were '
        f'free ({said[:300]}). Wanted: more memory, a smaller supercell, or fewer workers'
    )
