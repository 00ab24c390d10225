"""Peak memory: force constants against one energy-and-force evaluation of the same supercell, and 1000 atoms.

Every number comes from a fresh process: its largest resident set minus that before the call, potential loaded and both
orders of derivatives of the unit cell done once.
"""

from __future__ import annotations

from crystals import Crystal, crystals, silicon
from row import Findings, Row
from sides import TOY, official, ours

#: times one energy and forces
LIMIT = 3.0
#: MiB that 1000 atoms may take
SIX_GIB = 6144.0
NAMES = ('si64', 'si216', 'nacl64', 'quartz72', 'triclinic160')


def measure(name: str = TOY, chosen: list[Crystal] | None = None, large: Crystal | None = None) -> Findings:
    """All of ``chosen`` in both precisions, and the large one."""
    found = Findings()
    known = crystals()
    chosen = [known[k] for k in NAMES] if chosen is None else chosen
    peer = official(name)
    if peer is None:
        found.skipped.append('memory of the official package: it is absent')
    for dtype in ('float64', 'float32'):
        with ours(dtype, name) as side:
            for crystal in chosen:
                constants = side.ask('force_constants', crystal)
                units = {f'our {dtype}': side.ask('energy_forces', crystal)['memory']}
                if peer is not None:
                    units['official float32'] = peer.ask('energy_forces', crystal)['memory']
                for unit, memory in units.items():
                    found.rows.append(Row(
                        'memory', f'force constants of {crystal.name} in {dtype}, peak memory, MiB',
                        constants['memory'], f'one energy and forces of the supercell, {unit}', memory,
                        f'{constants["facts"]["engine"]}', LIMIT,
                    ))  # fmt: skip
    if peer is not None:
        peer.__exit__()
    large = large or silicon(5)
    with ours('float64', name) as side:
        for engine in ('auto', 'rows'):
            answer = side.ask('force_constants', large, engine=engine)
            words = f'{answer["facts"]["engine"]}; {answer["seconds"]["all"]:.0f} CPU s, symmetry search included'
            found.rows.append(Row(
                'memory', f'force constants of {large.name} in float64, engine {engine}, whole process, MiB',
                answer['resident'], '6 GiB', SIX_GIB, words,
                # what the call takes by itself must fit; the other engine is shown beside it
                1.0 if engine == 'auto' else None,
            ))  # fmt: skip
    return found
