"""What all parsers share: nothing missing, nothing partial passes as a success, and a broken result is that one's."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any

from aiida.common.links import LinkType
from aiida.engine import ExitCode
from aiida.orm import Dict
from aiida.parsers import Parser

from aiida_mlfc.calculations.base import STDERR_FILE
from aiida_mlfc.core import bounded_json
from aiida_mlfc.core.printable import printable
from aiida_mlfc.exchange.errors import OF_THE_MACHINE, UNREADABLE
from aiida_mlfc.exchange.limits import LARGEST_JSON, LONGEST_NAME
from aiida_mlfc.exchange.marks import attempts_by_key
from aiida_mlfc.exchange.names import RESULTS, SUMMARY_FILE
from aiida_mlfc.exchange.results import ResultError, check_results, plain, read_result

#: bytes of stderr that are looked at; what mlfc-run says comes early
_LONGEST_STDERR = 2**24
#: characters of a reason in an exit message
_LONGEST_REASON = 1000
#: as ``mlfc-run`` says it; not imported, for the runner is not installed on this side of the wall
_STOPPED = 'mlfc-run: stopped by SIGTERM'
#: what Slurm, PBS and LSF write to the stderr of a job that they end; AiiDA looks at the first line alone
_SCHEDULER_SAYS = {
    'ERROR_SCHEDULER_OUT_OF_MEMORY': re.compile(
        r'exceeded (job |step |its )?memory limit|exceeded memory|oom[-_ ]?kill|out of memory|TERM_MEMLIMIT', re.I
    ),
    'ERROR_SCHEDULER_OUT_OF_WALLTIME': re.compile(r'due to time limit|exceeded limit.*walltime|TERM_RUNLIMIT', re.I),
    'ERROR_SCHEDULER_NODE_FAILURE': re.compile(r'due to node fail', re.I),
}


class MlfcParser(Parser):
    """Reads ``results/KEY`` for every crystal of the job; a subclass turns one good result into nodes."""

    CACHE_VERSION = 2

    @cached_property
    def given(self) -> dict[str, Any]:
        """The inputs by name and, in namespaces, by key; read once: ``node.inputs`` reads every link at each look."""
        return self.node.base.links.get_incoming(link_type=LinkType.INPUT_CALC).nested()

    def parse(self, **kwargs: Any) -> ExitCode | None:
        """Attach what is good, report what is not."""
        codes = self.exit_codes
        if refused := self._refused():
            return codes.ERROR_JOB_REFUSED.format(reason=printable(refused, _LONGEST_REASON))
        temporary = kwargs.get('retrieved_temporary_folder')
        keys = list(self.given[self.node.process_class.CRYSTALS])
        if temporary is None or not (Path(temporary) / RESULTS).is_dir():
            return self._interrupted(codes.ERROR_OUTPUT_RESULTS_MISSING, 0, len(keys))
        folder = Path(temporary)
        finished = SUMMARY_FILE in self.retrieved.base.repository.list_object_names()
        try:
            check_results(folder)
            # Before anything is attached: numbers of another potential must not become nodes.
            if finished and (wrong := self._wrong_potential()):
                return codes.ERROR_WRONG_POTENTIAL.format(**wrong)
        except ResultError as error:
            return codes.ERROR_OUTPUT_RESULTS_UNREADABLE.format(reason=str(error))
        except (ValueError, AttributeError) as error:
            return codes.ERROR_OUTPUT_RESULTS_UNREADABLE.format(reason=f'{SUMMARY_FILE}: {printable(error)}')
        rows = {key: self._row(folder, key) for key in keys if (folder / RESULTS / key).is_dir()}
        self.out('output_parameters', Dict(plain(rows)))
        if unreadable := {key: row['error']['message'] for key, row in rows.items() if _is(row, UNREADABLE)}:
            reason = '; '.join(f'{key}: {message}' for key, message in unreadable.items())
            return codes.ERROR_OUTPUT_RESULTS_UNREADABLE.format(reason=printable(reason, _LONGEST_REASON))
        if len(rows) < len(keys) or not finished:
            self._attempts(folder, keys)
            incomplete = codes.ERROR_OUTPUT_RESULTS_INCOMPLETE.format(n_done=len(rows), n_all=len(keys))
            return self._interrupted(incomplete, len(rows), len(keys))
        failed = sorted(key for key, row in rows.items() if row['status'] == 'failed')
        if killed := [key for key in failed if _is(rows[key], *OF_THE_MACHINE)]:
            return codes.ERROR_SOME_STRUCTURES_KILLED.format(keys=', '.join(failed), killed=', '.join(killed))
        return codes.ERROR_SOME_STRUCTURES_FAILED.format(keys=', '.join(failed)) if failed else None

    def _interrupted(self, code: ExitCode, n_done: int, n_all: int) -> ExitCode:
        """``code``, or what is known of the cause: out of walltime, out of memory, a lost node, a cancelled job."""
        if self.node.exit_status:
            return ExitCode(self.node.exit_status, f'{self.node.exit_message} {code.message}', code.invalidates_cache)
        said = self._read(self.node.get_option('scheduler_stderr') or '')
        for label, pattern in _SCHEDULER_SAYS.items():
            if pattern.search(said):
                known = self.exit_codes[label]
                return ExitCode(known.status, f'{known.message} {code.message}', True)
        if 'CANCELLED AT' in said or any(line.startswith(_STOPPED) for line in self._stderr()):
            return self.exit_codes.ERROR_JOB_STOPPED.format(n_done=n_done, n_all=n_all)
        return code

    def _attempts(self, folder: Path, keys: list[str]) -> None:
        """What processes were in the middle of when they died."""
        if found := attempts_by_key(folder / RESULTS, keys):
            self.out('output_attempts', Dict(found))

    def _row(self, folder: Path, key: str) -> dict[str, Any]:
        """One entry of output_parameters; nodes of a good result are attached on the way."""
        try:
            result = read_result(folder, key)
            name, seconds = result['name'], float(result['seconds'])
            if not isinstance(name, str) or len(name) > LONGEST_NAME:
                raise ResultError(f'name: got a {type(name).__name__}, wanted text of at most {LONGEST_NAME}')
            row = {'name': name, 'status': result['status'], 'seconds': seconds}
            if row['status'] == 'failed':
                self.attach_failed(key, folder / RESULTS / key)
                said = {k: str(result['error'][k]) for k in ('type', 'message')}
                if 'step' in result['error']:
                    said['step'] = str(result['error']['step'])
                # of several steps, those before the one that failed
                return dict(result.get('data', {})) | row | {'error': said}
            data = dict(result['data'])
            self.attach(key, folder / RESULTS / key, data)
        except Exception as error:  # noqa: BLE001 (whatever readers make of a broken result is the error of that one)
            message = f'{type(error).__name__}: {printable(error, _LONGEST_REASON)}'
            return {
                'name': key,
                'status': 'failed',
                'seconds': 0.0,
                'error': {'type': UNREADABLE, 'message': f'the result cannot be read: {message}'},
            }
        return data | row

    def _stderr(self) -> list[str]:
        """What ``mlfc-run`` said."""
        return self._read(STDERR_FILE).splitlines()

    def _read(self, name: str) -> str:
        """The text of a retrieved file; nothing if there is none."""
        repository = self.retrieved.base.repository
        if not name or name not in repository.list_object_names():
            return ''
        with repository.open(name, 'rb') as handle:
            return handle.read(_LONGEST_STDERR).decode(errors='replace')

    def _refused(self) -> str | None:
        """Why mlfc-run did not even start, from its stderr; None if it did."""
        lines = self._stderr()
        # A job stopped by its scheduler while it was still reading is interrupted, not refused.
        complaints = [line for line in lines if line.startswith('mlfc-run: ') and not line.startswith(_STOPPED)]
        started = any(' done already' in line for line in complaints)
        potential = [line for line in complaints if line.startswith('mlfc-run: potential:')]
        if potential or (complaints and not started):
            return (potential or complaints)[-1].removeprefix('mlfc-run: ')
        return None

    def _wrong_potential(self) -> dict[str, str] | None:
        if not self.node.process_class.NEEDS_POTENTIAL:
            return None
        with self.retrieved.base.repository.open(SUMMARY_FILE, 'rb') as handle:
            summary = handle.read(LARGEST_JSON)
        used = bounded_json.loads(summary).get('potential_sha256')
        wanted = self.given['potential'].sha256
        return None if used == wanted else {'got': printable(used, 100), 'wanted': wanted}

    def attach(self, key: str, folder: Path, data: dict[str, Any]) -> None:
        """Make the output nodes of one crystal.

        :param folder: its result folder.
        :param data: its numbers.
        """
        raise NotImplementedError(f'{type(self).__name__} must say what its outputs are')

    def attach_failed(self, key: str, folder: Path) -> None:
        """Make the output nodes of one crystal that failed, if there are any."""


def _is(row: dict[str, Any], *types: str) -> bool:
    """Whether a crystal failed of one of these."""
    return row['status'] == 'failed' and row['error']['type'] in types
