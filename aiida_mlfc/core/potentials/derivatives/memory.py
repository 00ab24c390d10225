"""How much memory can still be had, and how much was had at most."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

#: of the free memory, one batch takes at most this
SHARE_OF_FREE_MEMORY = 0.5
#: (limit, used) of the container that the process may run in, control groups version 2 and 1
_CONTAINER_FILES = (
    ('memory.max', 'memory.current'),
    ('memory/memory.limit_in_bytes', 'memory/memory.usage_in_bytes'),
)

#: of what is free, the part that this process may count on; others on the same machine have theirs
_share = 1.0


@contextmanager
def memory_share(share: float) -> Iterator[None]:
    """Count on a part of the free memory only: batches shrink, and supercells' graphs give way to the q-space engine.

    :param share: between 0 (every batch holds one product or one crystal) and 1.
    """
    global _share
    before, _share = _share, share
    try:
        yield
    finally:
        _share = before


def free_memory(device: torch.device, root: Path = Path('/')) -> float:
    """Memory that can still be had, bytes: what the system has free, or less where a container or a job has a limit.

    :param root: of the file system; tests have their own.
    :return: infinity where the system does not say; within :func:`memory_share` its part of it.
    """
    return _share * _free_memory(device, root) if _share else 0.0


def _free_memory(device: torch.device, root: Path) -> float:
    if device.type == 'cuda':
        return float(torch.cuda.mem_get_info(device)[0])
    meminfo = root / 'proc' / 'meminfo'
    lines = meminfo.read_text(encoding='ascii').splitlines() if meminfo.exists() else []
    found = [1024.0 * int(line.split()[1]) for line in lines if line.startswith('MemAvailable:')]
    for limit, used in ((_number(_control_group(root, name)) for name in names) for names in _CONTAINER_FILES):
        if limit is not None and used is not None:
            found.append(max(0.0, limit - used))
    return min(found, default=float('inf'))


def reset_peak() -> bool:
    """Let :func:`peak_memory` count from here on.

    :return: False where the system does not allow it; it then counts from the start of the process.
    """
    try:
        # proc(5): 5 resets the high-water mark of the resident set
        Path('/proc/self/clear_refs').write_text('5', encoding='ascii')
    except OSError:
        return False
    return True


def peak_memory() -> float:
    """Largest resident set of this process since :func:`reset_peak`, MiB."""
    status = Path('/proc/self/status')
    lines = status.read_text(encoding='ascii').splitlines() if status.exists() else []
    found = [int(line.split()[1]) for line in lines if line.startswith('VmHWM:')]
    # ru_maxrss is in KiB on Linux, too
    return (found[0] if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1024


def _control_group(root: Path, name: str) -> Path:
    """A file of the control group of this process, or of the outermost one that is in sight."""
    groups = root / 'proc' / 'self' / 'cgroup'
    mount = root / 'sys' / 'fs' / 'cgroup'
    for line in groups.read_text(encoding='ascii').splitlines() if groups.exists() else []:
        number, controllers, path = line.split(':', 2)
        controller, _, plain = name.rpartition('/')
        if (controller in controllers.split(',')) if controller else number == '0':
            own = mount / controller / path.lstrip('/') / plain
            if own.exists():
                return own
    return mount / name


def _number(path: Path) -> float | None:
    """Bytes, or None where there is no file or no limit (``max``)."""
    text = path.read_text(encoding='ascii').strip() if path.exists() else ''
    return float(text) if text.isdigit() else None
