"""What AiiDA adds to each crystal of a screen: seconds outside ``mlfc-run``, and kilobytes.

    python examples/benchmarks/screen_overhead.py --crystals 200 [--concurrent 1] [--profile FILE]

Through the daemon, in a temporary AIIDA_PATH. With one job at a time the overhead is the wall time of the whole command
minus the time in which ``mlfc-run`` ran: import, submission, polling, parsing, storing, linking, printing, all of it.
On a machine with other work the processor time says more; it leaves out the waiting.
``--profile`` runs in the foreground under cProfile instead and says where the time goes.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from screen_crystals import BIN, OPTIONS, Home, tiny_potential, write_crystals

WRAPPER = """#!/bin/sh
date +%s.%N > mlfc-begin
{program} "$@"
status=$?
echo "$(cat mlfc-begin) $(date +%s.%N)" >> {log}
exit $status
"""
MAKE_CODE = """
from pathlib import Path
from aiida_mlfc.cli.profile import load_or_create_code, load_or_create_profile
load_or_create_profile(None)
from aiida.orm import InstalledCode
computer = load_or_create_code(None).computer
InstalledCode(label='timed', computer=computer, filepath_executable={path!r}, use_double_quotes=False).store()
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--crystals', type=int, default=200)
    parser.add_argument('--concurrent', type=int, default=1, help='jobs at the same time')
    parser.add_argument('--shard-size', type=int, default=250)
    parser.add_argument('--profile', type=Path, help='cProfile of the foreground run, for pstats')
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix='mlfc-overhead-') as name:
        print(json.dumps(measure(Path(name), chosen), indent=1))


def measure(folder: Path, chosen: argparse.Namespace) -> dict[str, float]:
    """Numbers per crystal."""
    home, log, timed = Home(folder), folder / 'times', folder / 'timed'
    timed.write_text(WRAPPER.format(program=BIN / 'mlfc-run', log=log))
    timed.chmod(0o755)
    subprocess.run([sys.executable, '-W', 'ignore', '-c', MAKE_CODE.format(path=str(timed))], env=home.environment,
                   check=True)  # fmt: skip
    files, potential = write_crystals(folder / 'crystals', chosen.crystals), tiny_potential(folder / 'tiny.safetensors')
    command = ['screen', files, '--potential', potential, *OPTIONS, '--code', 'timed@localhost', '--shard-size',
               chosen.shard_size, '--concurrent', chosen.concurrent, '--json']  # fmt: skip
    if not chosen.profile:
        home.verdi('daemon', 'start', 1)
    before, cpu = home.size(), processor_seconds(home)
    started = time.perf_counter()
    if chosen.profile:
        done = subprocess.run(
            [sys.executable, '-m', 'cProfile', '-o', str(chosen.profile.resolve()), str(BIN / 'aiida-mlfc'),
             *map(str, command), '--foreground'], env=home.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
    else:
        done = home.run(*command)
    wall, cpu = time.perf_counter() - started, processor_seconds(home) - cpu
    rows = json.loads(done.stdout) if done.stdout else []
    if done.returncode != 0 or len(rows) != chosen.crystals:
        raise RuntimeError(f'the screen ended with {done.returncode}: {done.stderr[-3000:]}')
    started = time.perf_counter()
    again = home.run(*command)
    second = time.perf_counter() - started
    home.verdi('daemon', 'stop')
    assert json.loads(again.stdout) == rows, 'a second launch gives other rows'
    spans = sorted(tuple(map(float, line.split())) for line in log.read_text().splitlines())
    inside = sum(end - begin for begin, end in spans)
    grown = {part: (size - before[part]) / 1000 / chosen.crystals for part, size in home.size().items()}
    nodes = home.ask('print(json.dumps([QueryBuilder().append(Node).count()]))')[0]
    return {
        'crystals': chosen.crystals, 'jobs': len(spans), 'nodes per crystal': round(nodes / chosen.crystals, 2),
        'wall, s': round(wall, 1), 'sum inside mlfc-run, s': round(inside, 1),
        'union of mlfc-run, s': round(union(spans), 1),
        'processor time of command and worker, s per crystal': round(cpu / chosen.crystals, 4),
        'overhead, s per crystal': round((wall - union(spans)) / chosen.crystals, 4),
        'second launch, s': round(second, 1),
        **{f'{part}, kB per crystal': round(size, 1) for part, size in grown.items()},
    }  # fmt: skip


def processor_seconds(home: Home) -> float:
    """Of the commands that were run and of the daemon's worker; jobs are nobody's children here."""
    total = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    for process in psutil.process_iter():
        try:
            if process.cmdline()[-2:] == ['daemon', 'worker'] and str(home.folder) in process.environ()['AIIDA_PATH']:
                total += sum(process.cpu_times()[:2])
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return total


def union(spans: list[tuple[float, ...]]) -> float:
    """Time in which at least one of the spans runs, s."""
    total, until = 0.0, 0.0
    for begin, end in spans:
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total


if __name__ == '__main__':
    main()
