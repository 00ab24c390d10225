"""How uncertain a potential is about one crystal, where its card holds an ensemble."""

from __future__ import annotations

import numpy as np

from aiida_mlfc.core.force_constants.record import ForceConstants
from aiida_mlfc.core.potentials.ensemble import members
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.structures.cells import to_ase
from aiida_mlfc.runner.bloch_phases import frequencies
from aiida_mlfc.runner.dynamical_matrices import dynamical_matrices

#: Γ-centred mesh of the primitive cell on which members are compared
MESH = 2


def frequency_spread(found: ForceConstants, model: EnergyModel) -> float | None:
    """Root mean square deviation of the members' frequencies from the model's, over mesh and modes, THz.

    :param found: force constants of the crystal, for its primitive cell.
    :return: None if the potential holds no ensemble.
    """
    several = list(members(model))
    if not several:
        return None
    primitive = to_ase(found.for_frequencies().primitive)
    steps = np.arange(MESH) / MESH
    qpoints = np.array([(a, b, c) for a in steps for b in steps for c in steps])
    of_members = [frequencies(dynamical_matrices(primitive, qpoints, member)) for member in several]
    own = frequencies(dynamical_matrices(primitive, qpoints, model))
    return float(np.sqrt(np.mean(np.square(np.array(of_members) - own))))
