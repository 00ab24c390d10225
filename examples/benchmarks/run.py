"""The benchmark: accuracy beside time and peak memory, as ratios to named peers in one run.

    python examples/benchmarks/run.py [--case NAME ...] [--list] [--smoke] [--output FOLDER]

Writes ``results.json`` (rows ``{case, quantity, ours, peer, peer_value, ratio, accuracy}``, ratio = ours / peer) and
``report.html`` to ``.bench``. A case that runs alone replaces its own rows there and leaves the others, each with its
date, in ``parts/``. Peers: the official MatterSim package (see ``sides.py``), phonopy, ASE, aiida-phonopy with
``pip install aiida-pythonjob``; what is absent is left out and said. ``--smoke`` takes tiny weights and crystals: its
numbers mean nothing but that everything runs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiida_screen
import force_constants
import growth
import many_crystals
import memory
import naive_hessians
import other_benchmarks
import qpoints
from crystals import Crystal, crystals, silicon
from mattersim_forces import CASES as MATTERSIM_FORCES
from page import write_page
from row import RESULT_KEYS, Findings
from sides import HERE, TINY
from terminal import print_rows

Cases = dict[str, Callable[[], Findings]]
#: takes twice as long as all others together; only by name
LONG = ('triclinic160-p1',)


def cases() -> Cases:
    """Every case, in the order in which they run."""
    return {name: partial(force_constants.measure, crystal) for name, crystal in crystals().items()} | {
        'naive-hessians': naive_hessians.measure,
        'qpoints': qpoints.measure,
        'memory': memory.measure,
        'growth': growth.measure,
        'many-crystals': many_crystals.measure,
        'aiida-screen': aiida_screen.measure,
        **{
            name: partial(other_benchmarks.measure, 'mattersim_forces', name, with_official=True)
            for name in MATTERSIM_FORCES
        },
        'relaxation': partial(other_benchmarks.measure, 'relaxation'),
        'three-ways': partial(other_benchmarks.measure, 'three_ways'),
    }


def smoke_cases() -> Cases:
    """The same code on next to nothing."""
    small = silicon(1)
    return {
        'si8': partial(force_constants.measure, small, TINY, 1),
        'naive-hessians': partial(naive_hessians.measure, TINY, (1,)),
        'qpoints': partial(qpoints.measure, TINY, 1),
        'memory': partial(memory.measure, TINY, [small], Crystal('si16', small.atoms, (2, 1, 1))),
        'growth': partial(growth.measure, TINY, (1, 2), (1, 2)),
        'many-crystals': partial(many_crystals.measure, (1, 3), TINY),
    }


def machine() -> str:
    """What the numbers were measured on."""
    model = next(
        (line.partition(':')[2].strip() for line in Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
         if line.startswith('model name')), platform.machine(),
    )  # fmt: skip
    return f'{model}, {os.cpu_count()} cores, one thread'


def commit() -> str:
    """Of the checkout, or what is known instead."""
    done = subprocess.run(
        ['git', '-C', str(HERE), 'describe', '--always', '--dirty'], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or 'no git checkout'


def run_case(name: str, case: Callable[[], Findings], parts: Path) -> None:
    """Measure, and keep what was found; a case that breaks leaves its error in the rows' place."""
    started, busy = time.perf_counter(), os.getloadavg()[0]
    print(f'== {name}', flush=True)
    try:
        findings = case()
        error = None
    except Exception as problem:  # noqa: BLE001 (the other cases go on; it is printed, kept and makes the exit code)
        traceback.print_exc()
        findings, error = Findings(skipped=[f'{name} broke: {problem}'.splitlines()[0]]), str(problem)
    seconds = time.perf_counter() - started
    part: dict[str, Any] = findings.to_dict() | {
        'name': name, 'when': time.strftime('%Y-%m-%d %H:%M', time.gmtime()), 'commit': commit(), 'seconds': seconds,
        'machine': machine(), 'load': busy, 'error': error,
    }  # fmt: skip
    parts.mkdir(parents=True, exist_ok=True)
    (parts / f'{name}.json').write_text(json.dumps(part, indent=1) + '\n', encoding='utf-8')
    print_rows(part['rows'], part['skipped'])
    print(f'   {seconds:.0f} s', flush=True)


def collect(output: Path, order: list[str]) -> list[dict[str, Any]]:
    """results.json and report.html from all parts that there are."""
    files = sorted((output / 'parts').glob('*.json'), key=lambda f: [*order, f.stem].index(f.stem))
    parts = [json.loads(file.read_text(encoding='utf-8')) for file in files]
    rows = [row for part in parts for row in part['rows']]
    plain = [{key: row[key] for key in RESULT_KEYS} for row in rows]
    (output / 'results.json').write_text(json.dumps(plain, indent=2) + '\n', encoding='utf-8')
    write_page(
        output / 'report.html',
        rows,
        [curve for part in parts for curve in part['curves']],
        [text for part in parts for text in part['skipped']],
        notes(parts),
    )
    return parts


def notes(parts: list[dict[str, Any]]) -> list[str]:
    """Lines under the title of the page."""
    where = sorted({part['machine'] for part in parts})
    when = sorted(part['when'] for part in parts)
    commits = sorted({part['commit'] for part in parts})
    loads = [part['load'] for part in parts]
    return [
        f'{"; ".join(where)}. Measured {when[0]} to {when[-1]} UTC at {", ".join(commits)}; load of the machine '
        f'{min(loads):.1f} to {max(loads):.1f}.',
        'Ratio = ours / peer, both measured in the same run of a case; below 1 is better. CPU s is the CPU time of one '
        'thread, which other work on the machine changes little; wall s is not free of it.',
        'MatterSim has toy weights of the size of the published 1M model, the same for both sides; time and memory do '
        'not depend on what the weights are, frequencies do.',
    ]


def main() -> int:
    """Run what was asked for; 1 if a case broke."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--case', action='append', help='run this one only; may be given again')
    parser.add_argument('--list', action='store_true', help='names of the cases')
    parser.add_argument('--smoke', action='store_true', help='tiny weights and crystals, seconds')
    parser.add_argument('--output', type=Path, default=Path('.bench'))
    arguments = parser.parse_args()
    known = smoke_cases() if arguments.smoke else cases()
    if arguments.list:
        print('\n'.join(known))
        return 0
    chosen = arguments.case or [name for name in known if name not in LONG]
    if unknown := [name for name in chosen if name not in known]:
        parser.error(f'--case: got {", ".join(unknown)}, wanted some of {", ".join(known)}')
    parts = arguments.output / 'parts'
    if not arguments.case:
        shutil.rmtree(parts, ignore_errors=True)
    for name in chosen:
        run_case(name, known[name], parts)
        collect(arguments.output, list(known))
    found = collect(arguments.output, list(known))
    print(f'\n{arguments.output}/results.json and {arguments.output}/report.html')
    return int(any(part['error'] for part in found if part['name'] in chosen))


if __name__ == '__main__':
    raise SystemExit(main())
