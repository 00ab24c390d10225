"""Cubic SrTiO3 followed from its imaginary modes to a stable crystal, and the tree as a page. No AiiDA.

python examples/22_follow_srtio3.py [POTENTIAL]

POTENTIAL is what ``21_srtio3_potential.py`` made; by default the one kept with the tests. Writes
22_follow_srtio3.html, and the crystals as 22_srtio3_N.cif. The same in AiiDA, every crystal linked to its parent:
aiida-mlfc follow SrTiO3.cif --potential POTENTIAL --no-relax-cell -o tree.html
"""

import os
import sys
from pathlib import Path

from ase import Atoms
from ase.io import write

from aiida_mlfc import follow_modes
from aiida_mlfc.reports.following_page import write_following_page
from aiida_mlfc.reports.following_table import print_tree

KEPT = Path(__file__).parents[1] / 'tests' / 'core' / 'phonons' / 'following' / 'dx-srtio3.safetensors'
potential = sys.argv[1] if len(sys.argv) > 1 else str(KEPT)
cubic = Atoms(
    'SrTiO3',
    scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]],
    cell=[3.8963] * 3,
    pbc=True,
)
# the whole tree takes minutes; CI takes a look at its first step
quick = {'generations': 1, 'mesh': (1, 1, 1), 'directions': 1, 'confirm_mesh': None} if os.environ.get('CI') else {}
# the potential learned no stress of distorted crystals: the cubic lattice is kept
found = follow_modes(
    cubic, potential, relax_cell=False, progress=lambda text: print(text, file=sys.stderr, flush=True), **quick
)
print_tree(found.to_dict())
print(write_following_page('22_follow_srtio3.html', found.to_dict(), 'SrTiO3: imaginary modes followed'))
for number, cell in found.cells.items():
    write(f'22_srtio3_{number}.cif', cell)
