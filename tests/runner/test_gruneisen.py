"""Mode Grüneisen parameters of potentials whose inside the q-space engine does not reach."""

import numpy as np
import pytest

from aiida_mlfc import gruneisen_parameters
from aiida_mlfc.core.potentials.validity import HAS_STRESS

from ..core.small_systems import EmbeddedAtoms, small_crystals
from .test_dynamical_matrices import GENERAL, Unreachable


def test_a_potential_that_cannot_be_reached_is_refused():
    """What happens without the refusal: numbers, and other ones than those of the same energy written in reach."""
    atoms = small_crystals()['rocksalt-rattled']
    within, without = EmbeddedAtoms(), Unreachable()
    for model in (within, without):
        model.metadata = {'validity': {HAS_STRESS: True}}
    with pytest.raises(ValueError, match='neighbours_only'):
        gruneisen_parameters(atoms, GENERAL, without)
    without.neighbours_only = True
    (wrong, _), (right, _) = (gruneisen_parameters(atoms, GENERAL, model) for model in (without, within))
    # every wave vector is Γ to it
    assert np.abs(wrong[0, :3]).max() < 1e-3 < 0.1 < np.abs(right).min()
