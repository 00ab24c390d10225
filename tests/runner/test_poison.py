"""A structure that kills its process: its trace, its turn at the end, its stated error; the others are all done."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from ase.build import bulk

from aiida_mlfc.exchange.marks import MAX_KILLS, Attempt, attempts_by_key, read_marks
from aiida_mlfc.exchange.results import read_result
from aiida_mlfc.runner.run import run_job

from .killing import Killer, run

COMMAND = [sys.executable, '-m', 'aiida_mlfc.runner.run']


@pytest.fixture
def crystals():
    """The poison is the third of five, and takes long enough to be seen in progress."""
    found = {f'Si{k}': bulk('Si', 'diamond', a=5.40 + 0.01 * k) for k in range(5)}
    found['Si2'] = bulk('NaCl', 'rocksalt', a=5.64, cubic=True)
    return found


def statuses(folder):
    return {
        path.parent.name: read_result(folder, path.parent.name)['status']
        for path in (folder / 'results').glob('[A-Za-z]*/result.json')
    }


def marks(folder):
    return attempts_by_key(folder / 'results', [f'Si{k}' for k in range(5)])


def test_killed_again_and_again_by_one_structure(tmp_path, make_job, crystals):
    """Without a supervisor: each run gets on, the poison goes last, and after three kills it has a stated error."""
    folder = make_job(tmp_path, crystals)
    good = set(crystals) - {'Si2'}
    with Killer(tmp_path, ['Si2']) as killer:
        assert run(folder)[0] == -signal.SIGKILL
        assert set(statuses(folder)) == {'Si0', 'Si1'}
        assert marks(folder) == {'Si2': {'killed': 1, 'killed_in_company': 0, 'stopped': 0}}
        assert run(folder)[0] == -signal.SIGKILL
        assert statuses(folder) == dict.fromkeys(good, 'ok')
        assert run(folder)[0] == -signal.SIGKILL
        code, said = run(folder)
    assert code == 4, said
    assert len(killer.kills) == MAX_KILLS
    result = read_result(folder, 'Si2')
    assert result['error']['type'] == 'KilledError'
    assert 'killed the process 3 times when computed alone: out of memory?' in result['error']['message']
    assert sorted(os.listdir(folder / 'results')) == sorted(crystals)
    assert json.loads((folder / 'results.json').read_text())['failed'] == ['Si2']


def test_a_supervisor_does_the_same_in_one_run(tmp_path, make_job, crystals):
    """Two workers, and a poison that crashes instead of taking memory: it is called by its name."""
    folder = make_job(tmp_path, crystals)
    with Killer(tmp_path, ['Si2'], signum=signal.SIGSEGV) as killer:
        done = subprocess.run(
            [*COMMAND, str(folder), '--workers', '2'],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=300,
            env={**os.environ, 'OMP_NUM_THREADS': '1'},
        )
    assert done.returncode == 4, done.stderr
    assert len(killer.kills) == MAX_KILLS
    assert statuses(folder) == {key: 'failed' if key == 'Si2' else 'ok' for key in crystals}
    message = read_result(folder, 'Si2')['error']['message']
    assert '3 times when computed alone (SIGSEGV): a crash in a native library?' in message
    assert done.stderr.count('a worker was killed by SIGSEGV in the middle of Si2') == MAX_KILLS
    assert sorted(os.listdir(folder / 'results')) == sorted(crystals)


def test_killed_once_is_no_verdict(tmp_path, make_job, crystals):
    """A node that dies takes whatever was in progress; next time it is computed, with the least memory."""
    folder = make_job(tmp_path, crystals)
    with Killer(tmp_path, ['Si2'], times=1):
        assert run(folder)[0] == -signal.SIGKILL
        code, said = run(folder)
    assert code == 0, said
    order = [line.split()[1] for line in said.splitlines() if line.startswith('[')]
    assert order == ['Si3', 'Si4', 'Si2']
    assert read_result(folder, 'Si2')['data']['quality']['engine'] == 'qspace'


def test_batches(tmp_path, make_job, crystals):
    """Of a batch nobody knows whose fault it was: its members are computed one by one, after all others."""
    folder = make_job(tmp_path, crystals | {'Si2': crystals['Si2'] * (4, 4, 4)}, 'evaluate')
    with Killer(tmp_path, ['Si2']) as killer:
        for _ in range(10):
            code, said = run(folder)
            if code != -signal.SIGKILL:
                break
    assert code == 4, said
    assert statuses(folder) == {key: 'failed' if key == 'Si2' else 'ok' for key in crystals}
    # once in company, three times alone
    assert MAX_KILLS <= len(killer.kills) <= MAX_KILLS + 1


def test_being_stopped_is_no_fault(tmp_path, make_job, crystals):
    """SIGTERM in the middle: the structure comes last the next time, and nothing is counted against it."""
    folder = make_job(tmp_path, crystals)
    codes = []
    with Killer(tmp_path, ['Si2'], times=2, signum=signal.SIGTERM) as killer:
        while not codes or codes[-1] == 143:
            code, said = run(folder)
            codes.append(code)
            # it may just have got done
            counts = marks(folder).get('Si2', {'killed': 0, 'stopped': 1})
            assert counts['killed'] == 0
            assert code == 0 or counts['stopped'] >= 1
    assert killer.kills
    assert codes[-1] == 0, said
    assert len(codes) >= 2
    assert set(statuses(folder).values()) == {'ok'}


def test_stopped_while_native_code_runs(tmp_path):
    """Python handles a signal when native code returns; the mark says at once that nobody is to blame."""
    from aiida_mlfc.runner.claims import Claims

    (tmp_path / 'results').mkdir()
    code = (
        'import signal, sys, ctypes\n'
        'from pathlib import Path\n'
        'from aiida_mlfc.runner.claims import Claims\n'
        'from aiida_mlfc.runner.stopping import note_at_once\n'
        f'folder = Path({str(tmp_path)!r})\n'
        'signal.signal(signal.SIGTERM, lambda *a: print("handled", flush=True))\n'
        'note_at_once(folder)\n'
        'claims = Claims(folder, {"Si": "f"})\n'
        'claims.claim("Si", alone=True)\n'
        'print("begun", flush=True)\n'
        # poll() without descriptors: native, deaf to Python's handlers for as long as it takes, and EINTR is repeated
        'libc = ctypes.CDLL(None)\n'
        'for _ in range(2):\n'
        '    libc.poll(None, 0, 60000)\n'
    )
    process = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == 'begun\n'
    process.terminate()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        (attempt,) = read_marks(tmp_path / 'results' / '.running', ['Si'])['Si'].values()
        if attempt.ended:
            break
        time.sleep(0.01)
    process.kill()
    process.wait()
    process.stdout.close()
    assert attempt.ended == 'stopped'
    history = Claims(tmp_path, {'Si': 'f'}).histories()['Si']
    assert history.rank == (0, 0, 1)


@pytest.mark.parametrize(
    'content', [b'', b'[' * 3000, b'{"alone": 1}', b'\xff' * 9000, b'null', b'{"fingerprint": "", "owner": []}']
)
def test_marks_that_nobody_wrote(tmp_path, make_job, crystals, content):
    """A mark that cannot be read is no claim once it is old, and no evidence."""
    folder = make_job(tmp_path, {'Si0': crystals['Si0']})
    path = folder / 'results' / '.running'
    path.mkdir(parents=True)
    (path / 'Si0.0').write_bytes(content)
    (path / '../../evil.0').write_bytes(content)
    os.utime(path / 'Si0.0', (0, 0))
    assert run_job(folder) == 0
    assert sorted(os.listdir(folder / 'results')) == ['Si0']
    assert (folder / 'evil.0').exists()


def test_marks_of_other_options_do_not_count(tmp_path, make_job, crystals):
    folder = make_job(tmp_path, crystals)
    with Killer(tmp_path, ['Si2'], times=3):
        for _ in range(3):
            assert run(folder)[0] == -signal.SIGKILL
        make_job(folder, crystals, symprec=1e-3)
        assert run(folder)[0] == 0
    assert statuses(folder) == dict.fromkeys(crystals, 'ok')


def test_marks_are_links_to_nowhere(tmp_path, make_job, crystals):
    folder = make_job(tmp_path / 'job', {'Si0': crystals['Si0']})
    (folder / 'results').mkdir()
    (tmp_path / 'elsewhere').mkdir()
    (folder / 'results' / '.running').symlink_to(tmp_path / 'elsewhere')
    assert run_job(folder) == 2
    assert list((tmp_path / 'elsewhere').iterdir()) == []
    assert Attempt.read(folder / 'results' / '.running') is not None  # a link is never followed, and says nothing
