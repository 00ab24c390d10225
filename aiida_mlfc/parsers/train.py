"""Parser of ``mlfc.train``."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from aiida.engine import ExitCode
from aiida.orm import Dict

from aiida_mlfc.calculations.base import STDERR_FILE
from aiida_mlfc.core.checkpoint_header import CheckpointError
from aiida_mlfc.data.potential import PotentialData
from aiida_mlfc.exchange.names import SUMMARY_FILE, TRAINED_FILES
from aiida_mlfc.parsers.base import MlfcParser

#: how steps are counted on the stderr of the job
_STEP = re.compile(r'\bstep (\d+)')


class TrainParser(MlfcParser):
    """The potential, and for each force set how well it came out."""

    def parse(self, **kwargs: Any) -> ExitCode | None:
        """Attach the potential of a job that finished; count the steps of one that did not."""
        names = self.retrieved.base.repository.list_object_names()
        if SUMMARY_FILE not in names and not self._refused():
            step = self._steps_done()
            self.out('output_parameters', Dict({'training': {'status': 'interrupted', 'step': step}}))
            return self.exit_codes.ERROR_TRAINING_INTERRUPTED.format(step=step)
        found = super().parse(**kwargs)
        failed = self.exit_codes.ERROR_SOME_STRUCTURES_FAILED.status
        if found is not None and found.status != failed:
            return found
        rows = self.outputs['output_parameters'].get_dict()
        good = [row for row in rows.values() if row['status'] == 'ok']
        made = next((name for name in TRAINED_FILES.values() if name in names), None)
        if not good or made is None:
            reasons = '; '.join(dict.fromkeys(row['error']['message'] for row in rows.values() if 'error' in row))
            return self.exit_codes.ERROR_NOTHING_TRAINED.format(reason=reasons or 'its file is missing')
        try:
            potential = self._potential(made)
        except CheckpointError as error:
            return self.exit_codes.ERROR_OUTPUT_RESULTS_UNREADABLE.format(reason=str(error))
        if wrong := [row for row in good if row['potential_sha256'] != potential.sha256]:
            return self.exit_codes.ERROR_WRONG_POTENTIAL.format(
                got=potential.sha256, wanted=wrong[0]['potential_sha256']
            )
        self.out('output_potential', potential)
        return found

    def _potential(self, name: str) -> PotentialData:
        with tempfile.TemporaryDirectory(prefix='mlfc-train-') as folder:
            path = Path(folder) / name
            path.write_bytes(self.retrieved.base.repository.get_object_content(name, mode='rb'))
            return PotentialData.from_file(path)

    def _steps_done(self) -> int:
        if STDERR_FILE not in self.retrieved.base.repository.list_object_names():
            return 0
        content = self.retrieved.base.repository.get_object_content(STDERR_FILE, mode='rb').decode(errors='replace')
        return max((int(number) for number in _STEP.findall(content)), default=0)

    def attach(self, key: str, folder: Path, data: dict[str, Any]) -> None:
        """A force set has no node of its own to give."""
