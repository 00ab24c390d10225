"""Force constants to bands, DOS, thermal properties and a figure, LO-TO splitting included. No AiiDA.

python examples/03_force_constants_to_figures.py
"""

from pathlib import Path

from ase.io import read
from phonopy.file_IO import parse_BORN

from aiida_mlfc import analyse, compute_force_constants, load_potential
from aiida_mlfc.reports.figures_static import save_bands_and_dos

structures = Path(__file__).parent / 'structures'
potential = load_potential('dx-demo')
crystal = read(structures / 'NaCl_rocksalt.cif')

force_constants = compute_force_constants(crystal, [3, 3, 3], potential)
primitive = force_constants.to_phonopy().primitive
born = parse_BORN(primitive, filename=str(structures / 'NaCl_rocksalt.BORN'))
force_constants = compute_force_constants(crystal, [3, 3, 3], potential, nac_params=born)

phonons = analyse(force_constants)
print(f'lowest {phonons.stability.min_frequency:.3f} THz, highest {phonons.stability.max_frequency:.3f} THz')
print(f'verdicts: {phonons.stability.verdicts}')
print(f'at 300 K, per mole of primitive cells: {phonons.thermal.at(300.0)}')
print(save_bands_and_dos('NaCl_bands_and_dos.png', phonons, 'NaCl, dx-demo'))
