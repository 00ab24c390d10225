"""Phonons of a folder of crystals, as a script to edit: ``verdi run workflows/screen_folder.py FOLDER``.

Uses the loaded profile; the code ``mlfc-run@localhost`` is made if it is not there. With a daemon running, replace
``run_get_node`` by ``submit`` to hand the work over.
"""

import sys

from aiida.engine import run_get_node

from aiida_mlfc.cli.profile import load_or_create_code
from aiida_mlfc.core.structures.reading import read_crystals
from aiida_mlfc.data.crystals import content_sha256, crystal_key, structure_nodes
from aiida_mlfc.data.outcomes import ScreenOutcome
from aiida_mlfc.data.potential import PotentialData
from aiida_mlfc.reports.table import print_table
from aiida_mlfc.workchains.screen import ScreenWorkChain

FOLDER = sys.argv[1] if len(sys.argv) > 1 else 'examples/structures'
POTENTIAL = 'dx-demo'
CODE = None  # 'mlfc-run@mycluster'
PROTOCOL = 'balanced'
OPTIONS = {'resources': {'num_machines': 1, 'num_mpiprocs_per_machine': 1}, 'max_wallclock_seconds': 3600}

potential = PotentialData.get_or_create(POTENTIAL)
good = []
for crystal in read_crystals([FOLDER]):
    if crystal.atoms is None:
        print(f'left out: {crystal.name}: {crystal.error}')
    elif set(crystal.atoms.numbers) - set(potential.species):
        print(f'left out: {crystal.name}: {potential.name} does not know all of {crystal.atoms.symbols}')
    else:
        good.append((crystal.name, crystal.atoms, str(crystal.path)))

nodes = structure_nodes(good)
hashes = {content_sha256(atoms, name): atoms for name, atoms, _ in good}
structures = {crystal_key(hashes[sha], sha): node for sha, node in nodes.items()}

builder = ScreenWorkChain.get_builder_from_protocol(
    load_or_create_code(CODE), structures, potential, PROTOCOL, options=OPTIONS
)
_, process = run_get_node(builder)
outcome = ScreenOutcome(process)
print_table([outcome.row(key) for key in structures])
print(f'{process.process_label}<{process.pk}> exit status {process.exit_status}')
