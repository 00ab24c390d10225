"""A crystal to force constants: the exact Hessian, beside central differences of forces. No AiiDA.

python examples/02_crystal_to_force_constants.py
"""

import numpy as np
from ase.build import bulk

from aiida_mlfc import compute_force_constants, load_potential, relax

potential = load_potential('dx-demo')
relaxed = relax(bulk('Si', 'diamond', 5.4336), potential)
print(f'{relaxed.spacegroup_after}, largest force {relaxed.max_force:.1e} eV/Å after {relaxed.n_steps} steps')

exact = compute_force_constants(relaxed.atoms, [3, 3, 3], potential)
differences = compute_force_constants(relaxed.atoms, [3, 3, 3], potential, method='finite_difference')

print(f'{"":24}{"autograd":>14}{"finite diff.":>14}')
for name in ('n_directions', 'acoustic_sum_residual', 'permutation_asymmetry', 'seconds'):
    values = [getattr(found.quality, name) for found in (exact, differences)]
    print(f'{name:24}{values[0]:14.3g}{values[1]:14.3g}')
deviation = np.linalg.norm(exact.array - differences.array) / np.linalg.norm(exact.array)
print(f'relative difference     {deviation:14.1e}')

exact.to_phonopy().save('phonopy_params.yaml', settings={'force_constants': True})
print('phonopy_params.yaml written: `phonopy-load phonopy_params.yaml --band auto -p`')
