"""What all CalcJobs of ``mlfc-run`` share: many structures, one job, one folder layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiida.common import CalcInfo, CodeInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJob, CalcJobProcessSpec
from aiida.orm import Dict, RemoteData

from aiida_mlfc.data.many_crystals import ManyCrystals
from aiida_mlfc.data.potential import PotentialData
from aiida_mlfc.exchange.job import Job, JobFileError, check_workers, write_job
from aiida_mlfc.exchange.names import INPUTS, OTHER_POTENTIAL_FILES, POTENTIAL_FILE, RESULTS, SUMMARY_FILE, check_key

STDERR_FILE = 'mlfc-run.err'
#: s; a job that runs longer was given too many structures
DEFAULT_WALLTIME = 3600 * 12


def validate_keys(namespace: Any, _: Any) -> str | None:
    """Keys of a namespace of structures become file names."""
    if not namespace:
        return 'got no structure, wanted at least one'
    for key in namespace:
        try:
            check_key(key)
        except ValueError as error:
            return str(error)
    return None


def validate_workers(workers: Any, _: Any) -> str | None:
    """A number, or ``auto``."""
    try:
        check_workers(workers)
    except JobFileError as error:
        return str(error)
    return None


class MlfcCalculation(CalcJob, ManyCrystals):
    """Base of the calculations; a subclass names its task, its crystals' input namespace and its outputs."""

    CACHE_VERSION = 1
    #: task in the job file
    TASK: str
    #: input namespace with one entry a crystal
    CRYSTALS = 'structures'
    NEEDS_POTENTIAL = True

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Ports and exit codes common to all."""
        super().define(spec)
        if cls.NEEDS_POTENTIAL:
            spec.input('potential', valid_type=PotentialData, help='The checkpoint.')
        spec.input(
            'parameters', valid_type=Dict, default=lambda: Dict({}), help='Options of the task; see runner.options.'
        )
        spec.input(
            'parent_folder',
            valid_type=RemoteData,
            required=False,
            help='Folder of an interrupted run: what is finished there is not computed again.',
        )
        # How it is run is no part of what it is: neither is in the hash, so that results are found again.
        spec.input(
            'workers',
            valid_type=(int, str),
            non_db=True,
            required=False,
            validator=validate_workers,
            help='Processes in the job: a number, or "auto" for one a visible GPU, or one a core. One that dies is '
            'replaced, and what it died of is tried again alone. Without it there is one process and no supervisor.',
        )
        spec.input(
            'again',
            valid_type=list,
            non_db=True,
            required=False,
            help='Keys whose results in parent_folder are not to be believed.',
        )
        spec.inputs['metadata']['options']['resources'].default = {'num_machines': 1, 'num_mpiprocs_per_machine': 1}
        spec.inputs['metadata']['options']['withmpi'].default = False
        spec.inputs['metadata']['options']['max_wallclock_seconds'].default = DEFAULT_WALLTIME
        spec.output(
            'output_parameters',
            valid_type=Dict,
            help='By key: status, and either the numbers of the task or the error.',
        )
        spec.output(
            'output_attempts',
            valid_type=Dict,
            required=False,
            help='Of a job that did not finish: by key, how often processes were killed in the middle of it, alone or '
            'in company, or stopped.',
        )
        spec.exit_code(
            302, 'ERROR_OUTPUT_RESULTS_MISSING', invalidates_cache=True, message='The job left no results at all.'
        )
        spec.exit_code(
            303,
            'ERROR_OUTPUT_RESULTS_INCOMPLETE',
            invalidates_cache=True,
            message='The job stopped before all structures were done; {n_done} of {n_all} are.',
        )
        spec.exit_code(
            304, 'ERROR_OUTPUT_RESULTS_UNREADABLE', invalidates_cache=True, message='Results cannot be read: {reason}'
        )
        spec.exit_code(
            305,
            'ERROR_WRONG_POTENTIAL',
            invalidates_cache=True,
            message='The job used another checkpoint than its input: sha256 {got}, wanted {wanted}.',
        )
        spec.exit_code(
            307,
            'ERROR_JOB_STOPPED',
            invalidates_cache=True,
            message='The job was stopped from outside (cancelled, or out of walltime): {n_done} of {n_all} are done.',
        )
        # Among the reasons are a device that was busy and a full memory, which another time are none.
        spec.exit_code(310, 'ERROR_JOB_REFUSED', invalidates_cache=True, message='mlfc-run refused the job: {reason}')
        spec.exit_code(410, 'ERROR_SOME_STRUCTURES_FAILED', message='Failed: {keys}; see output_parameters.')
        spec.exit_code(
            412,
            'ERROR_SOME_STRUCTURES_KILLED',
            invalidates_cache=True,
            message='Failed: {keys}, of these for lack of memory or by killing the process: {killed}; see '
            'output_parameters.',
        )

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Write the job folder."""
        crystals = self.inputs[self.CRYSTALS]
        job = Job(
            self.TASK,
            self.job_options(),
            {key: self.name_of(key) for key in crystals},
            self._potential_file() if self.NEEDS_POTENTIAL else None,
            execution={name: self.inputs[name] for name in ('workers', 'again') if self.inputs.get(name) is not None},
        )
        write_job(Path(folder.abspath), job, {key: self.crystal_input(key) for key in crystals})
        code = CodeInfo()
        code.code_uuid = self.inputs.code.uuid
        code.cmdline_params = ['.']
        code.stderr_name = STDERR_FILE
        info = CalcInfo()
        info.codes_info = [code]
        if self.NEEDS_POTENTIAL:
            potential = self.inputs.potential
            info.local_copy_list = [(potential.uuid, potential.filename, self._potential_file())]
        if 'parent_folder' in self.inputs:
            parent = self.inputs.parent_folder
            info.remote_copy_list = [(parent.computer.uuid, str(Path(parent.get_remote_path()) / RESULTS), RESULTS)]
        # Structures and force constants are nodes already; a second copy in the repository would only cost room.
        info.provenance_exclude_list = [f'{INPUTS}/{key}.hdf5' for key in crystals]
        info.retrieve_list = [SUMMARY_FILE, STDERR_FILE]
        info.retrieve_temporary_list = [RESULTS]
        return info

    def _potential_file(self) -> str:
        """Name of the checkpoint in the job folder; its suffix tells people what it is."""
        return OTHER_POTENTIAL_FILES.get(self.inputs.potential.architecture, POTENTIAL_FILE)

    def job_options(self) -> dict[str, Any]:
        """Options of the task."""
        return dict(self.inputs.parameters.get_dict())

    def name_of(self, key: str) -> str:
        """What people call the crystal."""
        return self.inputs[self.CRYSTALS][key].label or key

    def crystal_input(self, key: str) -> dict[str, Any]:
        """Content of the input file of one crystal."""
        raise NotImplementedError(f'{type(self).__name__} must say what its input is')
