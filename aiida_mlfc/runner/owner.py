"""Which process a mark belongs to, and whether that process still lives."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

#: s; a mark of another machine that was not touched for so long belongs to nobody
SILENCE = 120.0
#: s; between touches
BEAT = 10.0


def _start_of(pid: int) -> str | None:
    """Clock ticks between boot and start of a process, so that a number given out again is not the same process.

    :return: None if there is no such process (a zombie is none), an empty string where the system does not say.
    """
    try:
        # The name of the program, in brackets, may hold anything.
        fields = Path(f'/proc/{pid}/stat').read_bytes().rpartition(b')')[2].split()
    except FileNotFoundError:
        if Path('/proc/self').exists():
            return None
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return ''
    except OSError:
        return None
    return None if fields[0] in (b'Z', b'X') else fields[19].decode()


def _place() -> str:
    """Within which numbers of processes mean the same: machine, boot, container."""
    parts = [socket.gethostname()]
    try:
        parts += [Path('/proc/sys/kernel/random/boot_id').read_text(encoding='ascii').strip()]
        parts += [os.readlink('/proc/self/ns/pid')]
    except OSError:
        pass
    return ' '.join(parts)


def this_process(folder: Path) -> dict[str, Any]:
    """The owner of marks that this process makes.

    :param folder: of the job; marks that were copied elsewhere have no owner there.
    """
    pid = os.getpid()
    return {'host': _place(), 'pid': pid, 'start': _start_of(pid) or '', 'folder': str(folder.resolve())}


def is_alive(owner: dict[str, Any], me: dict[str, Any], path: Path) -> bool:
    """Whether the owner of a mark still works on it.

    :param path: the mark; on other machines, whose processes cannot be seen from here, it must have been touched.
    """
    if not owner:
        # It is being written at this moment, or nobody can tell whose it is.
        return _silent_for(path) < BEAT
    if owner.get('folder') != me['folder']:
        return False
    if owner.get('host') == me['host']:
        pid = owner.get('pid')
        return type(pid) is int and pid > 0 and _start_of(pid) == owner.get('start')
    return _silent_for(path) < SILENCE


def _silent_for(path: Path) -> float:
    """Seconds since a file was touched, by the clock that stamps files: that of the file system."""
    clock = path.with_name(f'.clock-{os.getpid()}')
    try:
        clock.touch()
        os.utime(clock)
        now = clock.stat().st_mtime
    except OSError:
        now = time.time()
    finally:
        clock.unlink(missing_ok=True)
    try:
        return now - path.stat(follow_symlinks=False).st_mtime
    except OSError:
        return float('inf')
