"""What a process leaves behind of a structure that it did not finish, and what follows from it.

``results/.running/KEY.N`` is written before attempt N at a structure begins and removed when its result is there. What
is found later and belongs to nobody is the trace of a process that died: killed for its memory, by a crash in a native
library, with its node. Marks travel with ``results/`` into the job that continues.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aiida_mlfc.core import bounded_json
from aiida_mlfc.exchange.names import RUNNING

#: kills of a process that did nothing else, after which a structure is given up
MAX_KILLS = 3
#: bytes; a mark has a few hundred
LARGEST_MARK = 4096


class KilledError(RuntimeError):
    """The structure killed every process that tried it."""


@dataclass(frozen=True)
class Attempt:
    """One mark.

    :param owner: of the process: ``host``, ``pid``, ``start``, ``namespace``, ``folder``.
    :param alone: the process did nothing else.
    :param ended: ``stopped`` if somebody stopped the process (scheduler, user); empty if it said nothing.
    :param signum: the signal that killed it, where that is known; 0 where not.
    :param peak_memory: MiB that the process had when it was last seen.
    :param limit: MiB that it could have had when it began; 0 where not known.
    """

    fingerprint: str
    owner: dict[str, Any]
    alone: bool
    ended: str = ''
    signum: int = 0
    peak_memory: float = 0.0
    limit: float = 0.0

    @property
    def text(self) -> str:
        """What is written."""
        return json.dumps(vars(self))

    @classmethod
    def read(cls, path: Path) -> Attempt | None:
        """A mark; None if it is gone, and one that says nothing if it cannot be read.

        It may be empty because it is being written, because the disk was full, or because somebody else wrote it.
        """
        try:
            # No link out of the folder, and no device to hang on.
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError:
            return _SILENT
        try:
            content = bounded_json.loads(os.read(handle, LARGEST_MARK))
            if all(isinstance(content[name], kind) for name, kind in _KINDS.items()):
                return cls(**{name: content[name] for name in _KINDS})
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            pass
        finally:
            os.close(handle)
        return _SILENT


_SILENT = Attempt('', {}, False)
_KINDS: dict[str, Any] = {
    'fingerprint': str,
    'owner': dict,
    'alone': bool,
    'ended': str,
    'signum': int,
    'peak_memory': (int, float),
    'limit': (int, float),
}


@dataclass(frozen=True)
class History:
    """What earlier processes left behind of one structure.

    :param attempts: those whose process is gone, oldest first.
    """

    attempts: tuple[Attempt, ...] = ()

    @property
    def kills(self) -> list[Attempt]:
        """Of processes that did nothing else: evidence, not coincidence."""
        return [a for a in self.attempts if a.alone and not a.ended]

    @property
    def rank(self) -> tuple[int, int, int]:
        """The higher, the later it is tried again."""
        company = sum(not a.alone and not a.ended for a in self.attempts)
        return len(self.kills), company, sum(bool(a.ended) for a in self.attempts)

    @property
    def is_given_up(self) -> bool:
        """Whether nobody is to try it any more."""
        return len(self.kills) >= MAX_KILLS

    def error(self) -> KilledError:
        """Why it is given up."""
        kills = self.kills
        names = ', '.join(dict.fromkeys(_signal_name(a.signum) for a in kills if a.signum))
        peak, limit = max(a.peak_memory for a in kills), max(a.limit for a in kills)
        had = f' {limit:.0f} MiB were free when it began.' if limit else ''
        had += f' The process was last seen with {peak:.0f} MiB.' if peak else ''
        crashed = names and 'SIGKILL' not in names
        why = 'a crash in a native library?' if crashed else 'out of memory?'
        return KilledError(
            f'killed the process {len(kills)} times when computed alone{f" ({names})" if names else ""}: {why}{had} '
            'Wanted: more memory or a smaller supercell; delete its folder in results/ to have it tried again'
        )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f'signal {number}'


def read_marks(folder: Path, keys: Iterable[str]) -> dict[str, dict[int, Attempt]]:
    """All marks in a ``.running`` folder by key and number; names that are not among ``keys`` are left alone."""
    known = frozenset(keys)
    found: dict[str, dict[int, Attempt]] = {}
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return found
    for name in names:
        key, _, number = name.partition('.')
        if key in known and number.isascii() and number.isdigit() and len(number) < 5:
            attempt = Attempt.read(folder / name)
            if attempt is not None:
                found.setdefault(key, {})[int(number)] = attempt
    return found


def attempts_by_key(results: Path, keys: Iterable[str]) -> dict[str, dict[str, int]]:
    """For the side that only looks: how often processes died of each structure, and how often they were stopped.

    :param results: a ``results`` folder in which nothing runs any more.
    :return: by key, ``killed`` (alone), ``killed_in_company`` and ``stopped``.
    """
    found = {}
    for key, marks in read_marks(results / RUNNING, keys).items():
        kills, company, stopped = History(tuple(marks.values())).rank
        found[key] = {'killed': kills, 'killed_in_company': company, 'stopped': stopped}
    return found


def of_fingerprint(marks: Mapping[int, Attempt], fingerprint: str) -> History:
    """The history of exactly this input; what other options did to it says nothing."""
    return History(tuple(marks[n] for n in sorted(marks) if marks[n].fingerprint in ('', fingerprint)))


def rewrite(path: Path, attempt: Attempt) -> None:
    """Replace a mark, if it is still there."""
    # of this thread alone: another one that opens it anew would empty the mark that this one has just put in place
    partial = path.with_name(f'.{path.name}.{os.getpid()}.{threading.get_ident()}')
    try:
        partial.write_text(attempt.text, encoding='utf-8')
        if path.exists():
            partial.rename(path)
    except OSError:
        pass  # a full disk: the mark says what it said
    finally:
        partial.unlink(missing_ok=True)


def note_stopped(folder: Path, owner: Mapping[str, Any]) -> None:
    """Say of everything that a process has in progress that it was stopped from outside.

    :param folder: of the marks.
    """
    for path in folder.glob('[A-Za-z]*.*'):
        attempt = Attempt.read(path)
        if attempt is not None and attempt.owner == owner and not attempt.ended:
            rewrite(path, replace(attempt, ended='stopped'))
