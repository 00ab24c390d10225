"""Jobs through a real Slurm: a GPU request, a remote transport, walltime, cancellation, a lost node, memory."""

import os
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread

import psutil
import pytest
from aiida.engine import run_get_node
from aiida.orm import CalcJobNode, Dict, InstalledCode
from ase.build import bulk

from aiida_mlfc.workchains.phonon import PhononWorkChain
from aiida_mlfc.workchains.restart import ForceConstantsWorkChain

MLFC_RUN = Path(sys.executable).with_name('mlfc-run')
RESOURCES = {'resources': {'num_machines': 1, 'num_mpiprocs_per_machine': 1}}
#: s; between questions for the jobs
POLL = 0.5
#: s; the shortest that Slurm enforces
SHORTEST_WALLTIME = 60
#: Stands still after the first result of a first run; a run that finds results goes through.
HANGS_ONCE = f"""#!/usr/bin/env bash
if [ -d results ]; then exec {MLFC_RUN} "$@"; fi
{MLFC_RUN} "$@" &
until [ -n "$(ls results 2>/dev/null)" ] || ! kill -0 $!; do sleep 0.02; done
kill -STOP $!
touch stands-still
wait
"""


@pytest.fixture
def computer(slurm, aiida_computer):
    """Slurm over the local transport, asked twice a second."""
    return aiida_computer(
        label=f'slurm-{time.time_ns()}', scheduler_type='core.slurm', minimum_job_poll_interval=POLL,
        configuration_kwargs={'safe_interval': 0.0},
    )


@pytest.fixture
def make_code(tmp_path):
    def _make(computer, script: str | None = None):
        program = MLFC_RUN
        if script is not None:
            program = tmp_path / 'mlfc-run-wrapped'
            program.write_text(script)
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return InstalledCode(
            label=f'mlfc-{time.time_ns()}', computer=computer, filepath_executable=str(program),
            prepend_text='export OMP_NUM_THREADS=1',
        ).store()

    return _make


@pytest.fixture
def inputs(potential_node, make_structure, silicon, rocksalt):
    """Force constants of crystals that take a moment each."""

    def _inputs(code, options, **parameters):
        structures = {'Si': make_structure(silicon), 'NaCl': make_structure(rocksalt),
                      'SiAl': make_structure(bulk('SiAl', 'zincblende', a=5.5))}
        return {
            'mlfc': {
                'code': code, 'structures': structures, 'potential': potential_node,
                'parameters': Dict({'supercell_matrix': [2, 2, 2], **parameters}),
                'metadata': {'options': {**RESOURCES, 'max_wallclock_seconds': 600, **options}},
            }
        }

    return _inputs


def jobs_of(node):
    return sorted((n for n in node.called_descendants if isinstance(n, CalcJobNode)), key=lambda n: n.pk)


def run(inputs):
    outputs, node = run_get_node(ForceConstantsWorkChain, **inputs)
    return outputs, node, jobs_of(node)


def nothing_twice(jobs) -> None:
    """What the first job finished came into the second one as it was."""
    first, second = (job.outputs.output_parameters.get_dict() for job in jobs)
    assert first
    assert set(first) < set(second)
    for key, row in first.items():
        assert second[key]['seconds'] == row['seconds'], f'{key} was computed again'


def test_a_job_that_asks_for_a_gpu(computer, make_code, inputs):
    options = {'queue_name': 'gpu', 'custom_scheduler_commands': '#SBATCH --gres=gpu:1'}
    outputs, node, jobs = run(inputs(make_code(computer), options))
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    assert set(outputs['output_force_constants']) == {'Si', 'NaCl', 'SiAl'}
    shown = subprocess.run(
        ['sacct', '-n', '-P', '-X', '-o', 'State,AllocTRES', '-j', jobs[0].get_job_id()],
        capture_output=True, text=True, check=True,
    ).stdout
    assert 'gres/gpu=1' in shown


def test_over_ssh(slurm, aiida_computer, make_code, inputs, tmp_path, monkeypatch):
    """``core.ssh_async``, with a host entry of a throw-away home."""
    ssh = slurm / 'ssh'
    home = tmp_path / 'home'
    (home / '.ssh').mkdir(parents=True, mode=0o700)
    (home / '.ssh' / 'config').write_text(
        f'Host mlfc-cluster\n  HostName 127.0.0.1\n  Port 36822\n  User root\n  IdentityFile {ssh}/id\n'
        f'  UserKnownHostsFile {ssh}/known_hosts\n'
    )
    monkeypatch.setenv('HOME', str(home))
    computer = aiida_computer(
        label='slurm-over-ssh', hostname='127.0.0.1', scheduler_type='core.slurm', transport_type='core.ssh_async',
        minimum_job_poll_interval=POLL,
        configuration_kwargs={'host': 'mlfc-cluster', 'backend': 'asyncssh', 'safe_interval': 0.0},
    )
    outputs, node, _ = run(inputs(make_code(computer), {}))
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    assert set(outputs['output_force_constants']) == {'Si', 'NaCl', 'SiAl'}


def test_out_of_walltime_goes_on_with_what_is_missing(computer, make_code, inputs):
    code = make_code(computer, HANGS_ONCE)
    outputs, node, jobs = run(inputs(code, {'max_wallclock_seconds': SHORTEST_WALLTIME}))
    assert [job.exit_status for job in jobs] == [120, 0], [job.exit_message for job in jobs]
    assert node.is_finished_ok
    assert set(outputs['output_force_constants']) == {'Si', 'NaCl', 'SiAl'}
    nothing_twice(jobs)


def test_a_cancelled_job_goes_on_with_what_is_missing(computer, make_code, inputs, tmp_path):
    code = make_code(computer, HANGS_ONCE)

    def cancel():
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not list(tmp_path.rglob('stands-still')):
            time.sleep(0.2)
        subprocess.run(['scancel', '--user', 'root', '--state', 'RUNNING'], check=True)

    thread = Thread(target=cancel)
    thread.start()
    outputs, node, jobs = run(inputs(code, {}))
    thread.join()
    # with SIGTERM noted by mlfc-run, or by Slurm alone: the process stood still
    assert [job.exit_status for job in jobs] == [307, 0], [job.exit_message for job in jobs]
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    assert set(outputs['output_force_constants']) == {'Si', 'NaCl', 'SiAl'}
    nothing_twice(jobs)


@pytest.fixture
def lose_node(slurm):
    """Do to the node what a power cut does, once Slurm runs a job there: everything on it is gone at once.

    Another one in its place comes up as soon as the accounting knows the job as lost.
    """
    lost = []

    def running_jobs():
        marks = f'{slurm}/spool/job'
        return [process for process in psutil.process_iter(['cmdline'])
                if any(word.startswith(marks) for word in process.info['cmdline'] or ())]  # fmt: skip

    def _lose():
        try:
            (script,) = running_jobs()
            victims = [psutil.Process(int((slurm / 'slurmd.pid').read_text())), script.parent(), script]
            lost.extend(process.name() for process in victims)
            for process in [*victims, *script.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):  # the job's `touch` ends on its own
                    process.kill()
            subprocess.run(['scontrol', 'update', 'nodename=localhost', 'state=down', 'reason=lost'], check=True)
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and 'NODE_FAIL' not in states():
                time.sleep(0.2)
        finally:
            restart()  # without it the second job would wait for ever

    def states():
        command = ['sacct', '-n', '-P', '-X', '-o', 'State', '-S', 'now-10minutes']
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    def restart():
        subprocess.run(['slurmd', '-N', 'localhost', '-f', str(slurm / 'slurm.conf')], check=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('PATH', f'{os.environ["PATH"]}:/usr/sbin')
        yield _lose, lost
        # whatever went wrong in between: other tests want the node
        if not psutil.pid_exists(int((slurm / 'slurmd.pid').read_text())):
            restart()


def test_a_lost_node_goes_on_with_what_is_missing(computer, make_code, inputs, tmp_path, lose_node):
    """Slurm says NODE_FAIL, AiiDA 140, and the second job does what the first one did not finish."""
    lose, lost = lose_node
    code = make_code(computer, HANGS_ONCE)

    def power_cut():
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not list(tmp_path.rglob('stands-still')):
            time.sleep(0.2)
        lose()

    thread = Thread(target=power_cut)
    thread.start()
    outputs, node, jobs = run(inputs(code, {}))
    thread.join()
    assert lost[:2] == ['slurmd', 'slurmstepd']
    assert [job.exit_status for job in jobs] == [140, 0], [job.exit_message for job in jobs]
    assert jobs[0].get_detailed_job_info()['stdout'].count('NODE_FAIL') == 1
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    assert set(outputs['output_force_constants']) == {'Si', 'NaCl', 'SiAl'}
    nothing_twice(jobs)


def test_out_of_memory_is_said_at_the_top(computer, make_code, inputs):
    """Slurm kills a job above its memory; twice without any result, and the work chains end and say so."""
    code = make_code(computer, f'#!/usr/bin/env bash\n{sys.executable} -c "x = bytearray(900_000_000); import time; '
                               f'x[::4096] = b\'1\' * len(x[::4096]); time.sleep(30)"\nexec {MLFC_RUN} "$@"\n')
    given = inputs(code, {'max_memory_kb': 300_000})['mlfc']
    builder = PhononWorkChain.get_builder_from_protocol(
        code, given['structures'], given['potential'], 'fast', options=given['metadata']['options'], relax=False
    )
    _, node = run_get_node(builder)
    jobs = jobs_of(node)
    assert [job.exit_status for job in jobs] == [110, 110], [job.exit_message for job in jobs]
    assert node.exit_status == PhononWorkChain.exit_codes.ERROR_OUT_OF_MEMORY.status
    assert 'out of memory' in node.exit_message
