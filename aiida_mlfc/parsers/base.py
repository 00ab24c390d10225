"""What all parsers share: nothing missing, nothing partial passes as a success."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiida.engine import ExitCode
from aiida.orm import Dict
from aiida.parsers import Parser

from aiida_mlfc.calculations.base import STDERR_FILE
from aiida_mlfc.core import bounded_json
from aiida_mlfc.exchange.names import SUMMARY_FILE
from aiida_mlfc.exchange.results import ResultError, plain, read_result


class MlfcParser(Parser):
    """Reads ``results/KEY`` for every crystal of the job; a subclass turns one good result into nodes."""

    CACHE_VERSION = 1

    def parse(self, **kwargs: Any) -> ExitCode | None:
        """Attach what is good, report what is not."""
        codes = self.exit_codes
        if refused := self._refused():
            return codes.ERROR_JOB_REFUSED.format(reason=refused)
        temporary = kwargs.get('retrieved_temporary_folder')
        keys = list(self.node.inputs[self.node.process_class.CRYSTALS])
        if temporary is None or not (Path(temporary) / 'results').is_dir():
            return self._interrupted(codes.ERROR_OUTPUT_RESULTS_MISSING)
        folder = Path(temporary)
        finished = SUMMARY_FILE in self.retrieved.base.repository.list_object_names()
        rows: dict[str, Any] = {}
        try:
            # Before anything is attached: numbers of another potential must not become nodes.
            if finished and (wrong := self._wrong_potential()):
                return codes.ERROR_WRONG_POTENTIAL.format(**wrong)
        except (ValueError, AttributeError) as error:
            return codes.ERROR_OUTPUT_RESULTS_UNREADABLE.format(reason=f'{SUMMARY_FILE}: {error}')
        try:
            for key, result in self._results(folder, keys):
                rows[key] = self._row(folder, key, result)
        except (ResultError, OSError, KeyError, ValueError, TypeError) as error:
            return codes.ERROR_OUTPUT_RESULTS_UNREADABLE.format(reason=f'{type(error).__name__}: {error}')
        self.out('output_parameters', Dict(plain(rows)))
        if len(rows) < len(keys) or not finished:
            return self._interrupted(codes.ERROR_OUTPUT_RESULTS_INCOMPLETE.format(n_done=len(rows), n_all=len(keys)))
        failed = sorted(key for key, row in rows.items() if row['status'] == 'failed')
        return codes.ERROR_SOME_STRUCTURES_FAILED.format(keys=', '.join(failed)) if failed else None

    def _interrupted(self, code: ExitCode) -> ExitCode:
        """``code``, or what the scheduler says was the cause: out of walltime, out of memory, a lost node."""
        if not self.node.exit_status:
            return code
        return ExitCode(self.node.exit_status, f'{self.node.exit_message} {code.message}', code.invalidates_cache)

    @staticmethod
    def _results(folder: Path, keys: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        for key in keys:
            if (folder / 'results' / key).is_dir():
                yield key, read_result(folder, key)

    def _row(self, folder: Path, key: str, result: dict[str, Any]) -> dict[str, Any]:
        """One entry of output_parameters; nodes of a good result are attached on the way."""
        row = {'name': result['name'], 'status': result['status'], 'seconds': result['seconds']}
        if result['status'] == 'failed':
            return row | {'error': {k: result['error'][k] for k in ('type', 'message')}}
        self.attach(key, folder / 'results' / key, result['data'])
        return row | result['data']

    def _refused(self) -> str | None:
        """Why mlfc-run did not even start, from its stderr; None if it did."""
        if STDERR_FILE not in self.retrieved.base.repository.list_object_names():
            return None
        content = self.retrieved.base.repository.get_object_content(STDERR_FILE, mode='rb')
        lines = content.decode(errors='replace').splitlines()
        # A job stopped by its scheduler while it was still reading is interrupted, not refused.
        stopped = 'mlfc-run: stopped by SIGTERM'
        complaints = [line for line in lines if line.startswith('mlfc-run: ') and not line.startswith(stopped)]
        started = any(' done already' in line for line in complaints)
        potential = [line for line in complaints if line.startswith('mlfc-run: potential:')]
        if potential or (complaints and not started):
            return (potential or complaints)[-1].removeprefix('mlfc-run: ')
        return None

    def _wrong_potential(self) -> dict[str, str] | None:
        if not self.node.process_class.NEEDS_POTENTIAL:
            return None
        summary = self.retrieved.base.repository.get_object_content(SUMMARY_FILE)
        used = bounded_json.loads(summary).get('potential_sha256')
        wanted = self.node.inputs.potential.sha256
        return None if used == wanted else {'got': str(used), 'wanted': wanted}

    def attach(self, key: str, folder: Path, data: dict[str, Any]) -> None:
        """Make the output nodes of one crystal.

        :param folder: its result folder.
        :param data: its numbers.
        """
        raise NotImplementedError(f'{type(self).__name__} must say what its outputs are')
