"""A screen through the daemon of which parts are killed (kill -9) at random times, and whether anything is lost.

    python examples/benchmarks/killed_screen.py --crystals 1000 --kills 20 [--seed 0] [--folder FOLDER]

Victims in random order: the daemon's supervisor, its worker, its message broker, a running job, the command itself, and
all of them at once as in a power cut. Whenever the command has ended it is started again, as a person would. At the end

- every crystal has exactly one result, or one stated error;
- a second launch does nothing: no new node, the same rows;
- no process is left unfinished, no program of the daemon is left running;
- force constants are those of a direct computation.

Prints what was seen as JSON; ends with 1 if any of it does not hold.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from screen_crystals import Home, crystals, tiny_potential, write_crystals

#: parts of a daemon by the subcommand of ``verdi daemon`` that they are
PARTS = {'supervisor': 'start-circus', 'worker': 'worker', 'broker': 'broker'}
KINDS = (*PARTS, 'job', 'command', 'everything')
#: the command is started again at most so often after the last kill
MOST_LAUNCHES = 20
#: repeats of the primitive cell: the smallest, for it is not the physics that is tested here
SUPERCELL = 1
#: eV/Å²; job and direct computation do the same arithmetic in another order
FORCE_CONSTANTS_AGREE = 1e-9

#: how often each crystal was returned by a screen, and read from the results of a job; what never ended. A job that
#: goes on for another one reads what that one had finished again: it is copied, not computed
CENSUS = """
returned, computed = {}, {}
query = QueryBuilder().append(WorkChainNode, filters={'process_type': 'aiida.workflows:mlfc.screen'}, tag='screen')
query.append(BandsData, with_incoming='screen', edge_filters={'type': 'return'}, edge_project='label')
for (label,) in query.all():
    returned[label] = returned.get(label, 0) + 1
query = QueryBuilder().append(CalcJobNode, tag='job')
query.append(BandsData, with_incoming='job', edge_filters={'type': 'create'}, edge_project='label')
for (label,) in query.all():
    computed[label] = computed.get(label, 0) + 1
processes = QueryBuilder().append(ProcessNode, project='*').all(flat=True)
jobs = [p for p in processes if isinstance(p, CalcJobNode)]
print(json.dumps({
    'returned': returned, 'computed': computed, 'nodes': QueryBuilder().append(Node).count(),
    'screens': sum(p.process_label == 'ScreenWorkChain' for p in processes), 'jobs': len(jobs),
    'jobs that were interrupted': sum(bool(j.exit_status) and j.exit_status < 400 for j in jobs),
    'excepted': [f'{p.process_label}<{p.pk}>' for p in processes if p.is_excepted],
    'unfinished': [f'{p.process_label}<{p.pk}> {p.process_state}' for p in processes if not p.is_terminated],
}))
"""


class Killer:
    """Knows the processes of one home, and kills them.

    :param command: the running ``aiida-mlfc screen``.
    """

    def __init__(self, home: Home, seed: int) -> None:
        self.home, self.random, self.done = home, random.Random(seed), []
        self.command: Any = None

    def processes(self, kind: str) -> list[psutil.Process]:
        """Running processes of a kind."""
        if kind == 'everything':
            return [process for other in KINDS[:-1] for process in self.processes(other)]
        if kind == 'command':
            return [psutil.Process(self.command.pid)] if self.command.poll() is None else []
        found = []
        for process in psutil.process_iter():
            try:
                words = process.cmdline()
                mine = str(self.home.folder) in process.environ().get('AIIDA_PATH', '')
                is_part = 'daemon' in words and PARTS.get(kind) in words
                is_job = kind == 'job' and any(word.endswith('/mlfc-run') for word in words) and words[-1] == '.'
                if (mine and is_part) or (is_job and self.home.folder in Path(process.cwd()).parents):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        return found

    def strike(self) -> None:
        """Kill one process of a random kind that runs; all of them if the kind is everything."""
        kinds = self.random.sample(KINDS, len(KINDS))
        for kind in kinds:
            victims = self.processes(kind)
            if kind != 'everything':
                victims = self.random.sample(victims, min(1, len(victims)))
            for victim in victims:
                try:
                    victim.kill()
                except psutil.NoSuchProcess:
                    continue
            if victims:
                self.done.append(kind)
                return


def say(text: str) -> None:
    """A line with the time, at once."""
    print(f'{time.strftime("%H:%M:%S")} {text}', file=sys.stderr, flush=True)


def finished(home: Home) -> int:
    """Crystals in jobs that ended, roughly: result folders."""
    return sum(1 for _ in (home.folder / '.aiida').glob('scratch/*/*/*/*/results/*/result.json'))


def screen_under_fire(home: Home, launch: list[object], chosen: argparse.Namespace) -> tuple[Killer, int]:
    """Run the screen to its end, killing on the way.

    :return: the killer, and how often the command was launched.
    """
    killer, launches, log = Killer(home, chosen.seed), 0, home.folder / 'screen.log'
    next_kill = None
    while True:
        if killer.command is None or killer.command.poll() is not None:
            over = killer.command is not None and killer.command.returncode == 0
            if over or launches > chosen.kills + MOST_LAUNCHES:
                return killer, launches
            killer.command = home.start(*launch, log=log)
            launches += 1
            say(f'launch {launches}')
        if len(killer.done) < chosen.kills:
            now = time.monotonic()
            if next_kill is None:
                # the first when something runs
                next_kill = now + killer.random.uniform(0, chosen.pause) if killer.processes('job') else None
            elif now >= next_kill:
                killer.strike()
                say(f'kill {len(killer.done)}: {killer.done[-1:]}, about {finished(home)} results')
                next_kill = now + killer.random.uniform(0.2, 1.8) * chosen.pause
        time.sleep(0.2)


def force_constants_agree(home: Home, rows: list[dict[str, Any]], potential: Path, count: int) -> float:
    """Largest difference to a direct computation over a few crystals, eV/Å²."""
    from aiida_mlfc import compute_force_constants

    atoms, largest = dict(crystals(count)), 0.0
    for row in random.Random(0).sample([row for row in rows if row['status'] == 'ok'], min(3, len(rows))):
        direct = compute_force_constants(atoms[row['name']], [SUPERCELL] * 3, str(potential)).array
        stored = home.ask(f"print(json.dumps(load_node('{row['force_constants_uuid']}')"
                          ".get_array('force_constants').tolist()))")  # fmt: skip
        largest = max(largest, float(np.abs(direct - np.array(stored)).max()))
    return largest


def main() -> int:
    """Run, look, say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--crystals', type=int, default=1000)
    parser.add_argument('--kills', type=int, default=20)
    parser.add_argument('--pause', type=float, default=20.0, help='mean time between two kills, s')
    parser.add_argument('--shard-size', type=int, default=50)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--folder', type=Path, help='new folder to work in, kept; a temporary one by default')
    chosen = parser.parse_args()
    if chosen.folder is not None:
        chosen.folder.mkdir(parents=True)
        return examine(chosen.folder.resolve(), chosen)
    with tempfile.TemporaryDirectory(prefix='mlfc-killed-') as name:
        return examine(Path(name), chosen)


def examine(folder: Path, chosen: argparse.Namespace) -> int:
    """The whole test in a folder; 0 if everything holds."""
    home, started = Home(folder), time.monotonic()
    files, potential = write_crystals(folder / 'crystals', chosen.crystals), tiny_potential(folder / 'tiny.safetensors')
    launch = [
        'screen', files, '--potential', potential, '--protocol', 'fast', '--supercell', *[SUPERCELL] * 3,
        '--shard-size', chosen.shard_size, '--concurrent', 2, '--output', folder / 'rows.json',
    ]  # fmt: skip
    killer, launches = screen_under_fire(home, launch, chosen)
    seconds = time.monotonic() - started
    rows = json.loads((folder / 'rows.json').read_text())
    census = home.ask(CENSUS)
    second = home.run(*launch)
    again, after = json.loads((folder / 'rows.json').read_text()), home.ask(CENSUS)
    home.verdi('daemon', 'stop')
    returned, computed = census.pop('returned'), census.pop('computed')
    failed = [row for row in rows if row['status'] == 'failed']
    apart = force_constants_agree(home, rows, potential, chosen.crystals)
    holds = {
        'all kills were made': len(killer.done) == chosen.kills,
        'one row a crystal': len({row['name'] for row in rows}) == len(rows) == chosen.crystals,
        'one result or one stated error': set(returned.values()) <= {1}
        and len(returned) + len(failed) == chosen.crystals
        and all(row['error'] for row in failed),
        'nothing unfinished': not census['unfinished'],
        'a second launch does nothing': second.returncode == 0
        and again == rows and after['nodes'] == census['nodes'],
        'no program is left running': not killer.processes('everything'),
        'force constants are those of a direct computation': apart < FORCE_CONSTANTS_AGREE,
    }  # fmt: skip
    print(json.dumps({
        'crystals': chosen.crystals, 'kills': {kind: killer.done.count(kind) for kind in KINDS}, 'launches': launches,
        'seconds': round(seconds), 'failed': len(failed), 'errors': sorted({row['error'] for row in failed})[:5],
        'results read by more than one job': sum(n > 1 for n in computed.values()), **census,
        'largest difference of force constants, eV/Å²': apart, 'holds': holds,
    }, indent=1, ensure_ascii=False))  # fmt: skip
    return 0 if all(holds.values()) else 1


if __name__ == '__main__':
    sys.exit(main())
