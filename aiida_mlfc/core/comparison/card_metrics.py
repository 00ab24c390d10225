"""What model cards quote: frequencies on one fixed mesh without the non-analytical term, every star counted once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from phonopy import Phonopy

#: Γ-centred q-mesh of the primitive cell on which frequencies are compared
MESH = (6, 6, 6)
#: configurations on which forces are compared
MAX_CONFIGURATIONS = 20
#: key of the card under which errors stand that are no test: rows of sets that could not be split, by ``material``
NONE_HELD_BACK = 'errors on the configurations learned, none held back'
#: key of a row of the card, and what it says, where force constants and frequencies are compared with more than the
#: configurations held back; elsewhere rows do not have it
REFERENCE_CONSTANTS = 'reference force constants'
OF_ALL = 'of all configurations: those held back are mirrors of those learned'


def compared_configurations(n: int) -> np.ndarray:
    """Which of ``n`` configurations forces are compared on: all, or :data:`MAX_CONFIGURATIONS` spread over them."""
    return np.linspace(0, n - 1, min(MAX_CONFIGURATIONS, n)).astype(int)


@dataclass(frozen=True)
class CardFrequencies:
    """Over the stars of the mesh, each counted once; THz.

    :param mae: mean absolute difference.
    :param max: largest absolute difference.
    :param predict_zero: mean absolute frequency of the reference: what predicting zero would get wrong.
    :param lowest: of the potential, acoustic modes at Γ included.
    :param lowest_reference: of the reference, likewise.
    """

    mae: float
    max: float
    predict_zero: float
    lowest: float
    lowest_reference: float


def card_frequencies(ours: Phonopy, theirs: Phonopy) -> CardFrequencies:
    """Compare two sets of force constants of the same primitive cell.

    :param ours: of the potential; Born charges are left out.
    :param theirs: of the reference.
    """
    found, expected = _mesh_frequencies(ours), _mesh_frequencies(theirs)
    difference = np.abs(found - expected)
    return CardFrequencies(
        mae=float(difference.mean()),
        max=float(difference.max()),
        predict_zero=float(np.abs(expected).mean()),
        lowest=float(found.min()),
        lowest_reference=float(expected.min()),
    )


def _mesh_frequencies(phonon: Phonopy) -> np.ndarray:
    """Frequencies at the stars of the mesh, shape ``(n_stars, n_bands)``, THz."""
    nac_params, phonon.nac_params = phonon.nac_params, None
    phonon.run_mesh(MESH, is_gamma_center=True)
    frequencies = np.array(phonon.mesh.frequencies)
    phonon.nac_params = nac_params
    return frequencies
