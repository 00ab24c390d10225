"""A potential that knows cubic silicon learns of its other polytypes from pw.x, as a script to edit.

``verdi run workflows/active_learning_silicon.py FOLDER`` runs it in the loaded profile, ``python`` in the default one,
made where there is none. It wants pw.x (``tests/services/install_quantum_espresso.sh``). The potential and what
happened in the rounds are written into FOLDER; run again, finished jobs come from AiiDA's cache.

The loop screens all polytypes, has pw.x compute the one that the potential is least sure of, learns from everything,
and screens again: until it is sure of all that were not computed, or the budget is spent.
"""

import json
import sys
from pathlib import Path

import numpy as np
from aiida.engine import run_get_node
from aiida.manage.caching import enable_caching
from aiida.orm import Dict, Float
from ase import Atoms
from ase.build import bulk

from aiida_mlfc.cli.profile import load_or_create_code, load_or_create_profile
from aiida_mlfc.cli.reference_compute import load_or_create_espresso
from aiida_mlfc.data.crystals import structure_nodes
from aiida_mlfc.data.pseudo_families import family_of_files, upf_files
from aiida_mlfc.workchains.active_learning import ActiveLearningWorkChain
from aiida_mlfc.workchains.active_learning_engines import fill_dft_reference
from aiida_mlfc.workchains.dft_reference import DftReferenceWorkChain

OUTPUT = Path(sys.argv[1] if len(sys.argv) > 1 else '.active-learning')
PSEUDOS = [Path('/usr/share/espresso/pseudo/Si.pz-vbc.UPF')]  # of Debian's quantum-espresso-data
#: Å, of LDA silicon
LATTICE = 5.388
#: THz: a crystal is asked about whose frequencies are less certain, or which has a mode further below zero than that.
#: With a second reference allowed pw.x computes 4H, too: 32 atoms, four displacements
RULE = {'uncertainty': 0.2, 'unstable_below': -0.05, 'per_round': 1, 'max_references': 1, 'max_rounds': 4}
#: Å, of supercells; 16 atoms for 2H
SUPERCELL_LENGTH = 5.0
DFT = {
    'protocol': 'fast',
    'electronic_type': 'insulator',
    'overrides': {
        'cutoff_wfc': 20.0,
        'cutoff_rho': 80.0,
        'kpoints_distance': {'insulator': 0.51},
        'kpoints_offset': [0.5, 0.5, 0.5],
    },
}
#: of the screen
SCREEN = {'force_constants': {'parameters': {'supercell_length': SUPERCELL_LENGTH, 'truncation_qpoints': 0}}}
TRAINING = {'name': 'silicon'}

load_or_create_profile(None)


def polytype(layers: str) -> Atoms:
    """Silicon with the tetrahedra of the cubic crystal, its double layers in this order."""
    places = {'A': (0, 0), 'B': (1 / 3, 2 / 3), 'C': (2 / 3, 1 / 3)}
    side, n = LATTICE / np.sqrt(2), len(layers)
    cell = [[side, 0, 0], [-side / 2, side * np.sqrt(3) / 2, 0], [0, 0, n * LATTICE / np.sqrt(3)]]
    # the second atom of a double layer stands on the first, at three quarters of the height to the next layer
    scaled = [(*places[name], (k + up) / n) for k, name in enumerate(layers) for up in (0, 0.75)]
    return Atoms(f'Si{2 * n}', cell=cell, scaled_positions=scaled, pbc=True)


def run(builder):
    """In this process; what was computed before is taken from the cache."""
    with enable_caching(identifier='aiida.calculations:*'):
        return run_get_node(builder)


#: the first one is computed before the loop begins
CRYSTALS = {'si_3c': bulk('Si', 'diamond', a=LATTICE), 'si_2h': polytype('AB'), 'si_4h': polytype('ABCB')}
nodes = {}
for key, atoms in CRYSTALS.items():
    nodes[key] = next(iter(structure_nodes([(key, atoms, 'active_learning_silicon.py')]).values()))
known = next(iter(nodes))
pw, family = load_or_create_espresso(None, 'pw'), family_of_files(upf_files(PSEUDOS, ['Si']))

builder = DftReferenceWorkChain.get_builder_from_protocol(
    pw,
    nodes[known],
    pseudo_family=family,
    **{**DFT, 'overrides': {**DFT['overrides'], 'supercell_length': SUPERCELL_LENGTH}},
)
builder.max_concurrent = 1
begun_with, process = run(builder)
if not process.is_finished_ok:
    sys.exit(f'{process.process_label}<{process.pk}>: {process.exit_message or process.exception}')

builder = ActiveLearningWorkChain.get_builder_from_protocol(
    load_or_create_code(None), nodes, protocol='fast', overrides=SCREEN, training=TRAINING
)
builder.force_sets = {known: begun_with['phonopy_data']}
builder.settings = Dict(RULE)
builder.supercell_length = Float(SUPERCELL_LENGTH)
fill_dft_reference(builder, pw, family, relax_type='positions', **DFT)
builder.dft_reference.max_concurrent = 1
outputs, process = run(builder)
if 'summary' not in outputs:
    sys.exit(f'{process.process_label}<{process.pk}>: {process.exit_message or process.exception}')

OUTPUT.mkdir(exist_ok=True)
summary = outputs['summary'].get_dict()
(OUTPUT / 'summary.json').write_text(json.dumps(summary, indent=2))
potential = outputs['potential']
(OUTPUT / potential.filename).write_bytes(potential.get_content('rb'))

for number, done in enumerate(summary['rounds'], start=1):
    print(f'\nround {number}: uncertainties from {done["calibrated on"]}; they count {done["factor"]:.2f} times')
    for key, row in done['crystals'].items():
        said = done['asked'].get(key) or (f'open: {done["open"][key]}' if key in done['open'] else '')
        # one that failed, or whose potential cannot say how unsure it is, has nothing there
        lowest, spread = (float('nan') if row[x] is None else row[x] for x in ('min_frequency', 'uncertainty'))
        print(f'  {key:8} lowest {lowest:7.3f} THz, uncertain by {spread:.3f} THz  {said}')
    for key, error in done.get('errors', {}).items():
        if 'frequency_rms' in error:
            print(f'  {key} by pw.x: the potential was off by {error["frequency_rms"]:.3f} THz (rms)')
        else:
            print(f'  {key} by pw.x: the potential had no phonons of it to compare with')
print(f'\nstopped: {summary["stopped"]} (exit status {process.exit_status})')
print(f'{OUTPUT / potential.filename}, sha256 {potential.sha256[:12]}; {process.process_label} {process.uuid}')
