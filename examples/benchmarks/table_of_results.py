"""How long a table of ten thousand results takes to answer, on sqlite and on PostgreSQL.

    python examples/benchmarks/table_of_results.py --results 10000 [--postgresql HOST:PORT] [--folder FOLDER]

One crystal is screened for real. Its nodes and links, with everything that stands in them, are then copied by bulk
insertion into as many screens of 500 crystals as are asked for, in a temporary AIIDA_PATH: tables read no files, so the
copies share the files of the first. Copies come without the rows that a screen keeps as it ends; the first question
makes them. On a machine with other work the processor time says more than the wall time. ``HOST:PORT`` is a PostgreSQL
with user, password and database ``aiida`` (``tests/services/postgresql/start.sh FOLDER PORT`` makes one).
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

from screen_crystals import OPTIONS, Home, tiny_potential, write_crystals

CRYSTALS_IN_A_SCREEN = 500
POSTGRESQL_PROFILE = """
from pathlib import Path
from aiida.manage.configuration import create_profile, get_config
from aiida.plugins import BrokerFactory
config = get_config(create=True)
create_profile(
    config, name='table', email='a@b.c', first_name='a', last_name='b', institution='c',
    storage_backend='core.psql_dos', storage_config=dict(
        database_engine='postgresql_psycopg', database_hostname={host!r}, database_port={port},
        database_username='aiida', database_password='aiida', database_name='aiida',
        repository_uri=Path({repository!r}).as_uri()),
    broker_backend='core.zeromq', broker_config=BrokerFactory('core.zeromq').get_default_config())
config.set_default_profile('table', overwrite=True)
config.set_option('runner.poll.interval', 1, scope='table')
config.store()
"""
MEASURE = """
import time
from aiida_mlfc.data.tables import rows_of_all
times = []
for _ in range(3):
    started = time.perf_counter()
    rows = [row for row, _, _ in rows_of_all()]
    times.append(time.perf_counter() - started)
started = time.perf_counter()
query = QueryBuilder().append(Dict, filters={'attributes.min_frequency': {'<': -1e9}}, project='uuid')
n = len(query.all())
print(json.dumps({'rows': len(rows), 'ok': sum(r['status'] == 'ok' for r in rows),
                  'rows that no screen has kept, s': round(times[0], 2), 'kept rows, s': round(min(times[1:]), 2),
                  'filter on an attribute, s': round(time.perf_counter() - started, 2)}))
"""


def main() -> None:
    """Build, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--results', type=int, default=10_000)
    parser.add_argument('--postgresql', metavar='HOST:PORT')
    parser.add_argument('--folder', type=Path, help='new folder to work in, kept')
    parser.add_argument('--build', type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.build is not None:
        build(chosen.build)
        return
    if chosen.folder is not None:
        chosen.folder.mkdir(parents=True)
        print(json.dumps(measure(chosen.folder.resolve(), chosen), indent=1))
        return
    with tempfile.TemporaryDirectory(prefix='mlfc-table-') as name:
        print(json.dumps(measure(Path(name), chosen), indent=1))


def measure(folder: Path, chosen: argparse.Namespace) -> dict[str, object]:
    """Seconds of the query, and of whole commands."""
    home = Home(folder)
    if chosen.postgresql:
        host, port = chosen.postgresql.split(':')
        code = POSTGRESQL_PROFILE.format(host=host, port=int(port), repository=str(folder / 'files'))
        subprocess.run([sys.executable, '-W', 'ignore', '-c', code], env=home.environment, check=True)
    files, potential = write_crystals(folder / 'crystals', 1), tiny_potential(folder / 'tiny.safetensors')
    done = home.run('screen', files, '--potential', potential, *OPTIONS, '--foreground')
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-3000:])
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, '-W', 'ignore', __file__, '--build', str(chosen.results)], env=home.environment, check=True
    )
    found: dict[str, object] = {'building, s': round(time.perf_counter() - started, 1), **home.ask(MEASURE)}
    everything = ('query', 'all', '--limit', chosen.results)
    for command in (('query', 'all'), everything, (*everything, '--json'), ('query', 'unstable'), ('--help',)):
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = home.run(*command)
        wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        processor = sum(after[:2]) - sum(before[:2])
        found[' '.join(map(str, command))] = {'wall, s': round(wall, 2), 'processor, s': round(processor, 2)}
        if done.returncode != 0:
            raise RuntimeError(done.stderr[-3000:])
    return found


def build(n_results: int) -> None:
    """Copy the only screen of the default profile until there are so many results."""
    from aiida import load_profile

    load_profile()
    from aiida.orm import QueryBuilder, WorkChainNode
    from screen_copies import Subgraph

    from aiida_mlfc.data.kept_rows import EXTRA_ROWS

    (screen,) = QueryBuilder().append(
        WorkChainNode, filters={'process_type': 'aiida.workflows:mlfc.screen'}
    ).all(flat=True)  # fmt: skip
    # its row is not that of the copies
    if EXTRA_ROWS in screen.base.extras:
        screen.base.extras.delete(EXTRA_ROWS)
    graph = Subgraph(screen)
    for start in range(1, n_results, CRYSTALS_IN_A_SCREEN):
        graph.copy([f'copy_{k}' for k in range(start, min(start + CRYSTALS_IN_A_SCREEN, n_results))])


if __name__ == '__main__':
    main()
