"""Configurations that do not belong to the others of their set: of another functional, other units, another scale.

Forces scale with the force constants, so in a sound set every configuration agrees with the common fit in scale:
s_k = F_k·P_k / P_k·P_k with the fitted forces P is 1 but for anharmonicity. A configuration computed with another
functional stands out by some per cent, one in other units by a factor.
"""

from __future__ import annotations

import numpy as np
from phonopy.harmonic.force_constants import compact_fc_to_full_fc

from aiida_mlfc.core.force_constants.record import ForceConstants
from aiida_mlfc.core.references.force_sets import SMALLEST_DISPLACEMENT, ForceSets, ReferenceError

#: fewer configurations have no middle to stand out from
FEWEST = 6
#: in units of the spread of the set (median absolute deviation, as a standard deviation)
LARGEST_DEVIATION = 10.0
#: relative; sound sets stay below 0.015
SMALLEST_DEVIATION = 0.03
#: median absolute deviation of a normal distribution, over its standard deviation
_MAD = 0.6745


def scales(force_constants: ForceConstants, sets: ForceSets) -> np.ndarray:
    """How much larger the forces of each configuration are than the fit predicts, shape ``(n_configs,)``; sound: 1."""
    primitive = force_constants.to_phonopy().primitive
    full = compact_fc_to_full_fc(primitive, np.array(force_constants.array, order='C'))
    predicted = -np.einsum('ijab,cjb->cia', full, sets.displacements)
    return np.asarray((sets.forces * predicted).sum(axis=(1, 2)) / (predicted**2).sum(axis=(1, 2)))


def check_configurations(force_constants: ForceConstants, sets: ForceSets | None) -> None:
    """Refuse a set in which some configurations have forces of another scale than the rest.

    :param force_constants: fitted to ``sets``.
    :raises ReferenceError: naming the configurations.
    """
    if sets is None:
        return
    n_moved = (np.linalg.norm(sets.displacements, axis=2) > SMALLEST_DISPLACEMENT).sum(axis=1)
    # One or two displaced atoms make as many kinds of configurations as there are sites, each with an anharmonicity
    # of its own (7 % in tetragonal BaTiO3); random displacements of all atoms are of one kind.
    if len(sets.forces) < FEWEST or np.median(n_moved) < sets.displacements.shape[1] / 2:
        return
    found = scales(force_constants, sets)
    median = float(np.median(found))
    spread = float(np.median(np.abs(found - median))) / _MAD
    far = np.abs(found - median) > max(LARGEST_DEVIATION * spread, SMALLEST_DEVIATION * abs(median))
    if far.any():
        numbers = ', '.join(str(k + 1) for k in np.flatnonzero(far)[:8])
        worst = int(np.abs(found - median).argmax())
        raise ReferenceError(
            f'the forces of configuration {numbers} are of another scale than those of the rest (configuration '
            f'{worst + 1}: {found[worst] / median:.3f} times): another functional, other settings or units mixed in?'
        )
