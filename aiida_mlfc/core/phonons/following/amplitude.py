"""How far to go along an imaginary mode: to the first minimum of the energy on the frozen way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

#: Å; the first step, doubled until the energy rises. A well nearer than that is left to the relaxation
FIRST_STEP = 0.01
#: Å; no atom is displaced farther
LONGEST = 0.8
#: relative accuracy of the amplitude: what is left is for the relaxation, which moves all else too
ACCURACY = 0.01


@dataclass(frozen=True)
class LineMinimum:
    """Where the energy along a mode is lowest.

    :param amplitude: of the atom that moves most, Å.
    :param gain: energy at rest minus energy there, eV; negative if the first step already went up.
    :param is_bounded: whether the energy rose again before the longest amplitude.
    """

    amplitude: float
    gain: float
    is_bounded: bool


def line_minimum(energy: Callable[[float], float], longest: float = LONGEST) -> LineMinimum:
    """Steps that double until the energy rises, then Brent's method between the last three.

    :param energy: of an amplitude in Å, eV; a ``ValueError`` says that the crystal is none: it counts as a rise.
    :param longest: Å.
    :raises ValueError: if there is no energy without displacement. An energy that is not finite elsewhere is a rise.
    """

    def tried(amplitude: float) -> float:
        try:
            found = energy(amplitude)
        except ValueError:
            return float('inf')
        # NaN is larger than nothing: the way would seem to go down for ever
        return found if np.isfinite(found) else float('inf')

    at_rest = energy(0.0)
    if not np.isfinite(at_rest):
        raise ValueError(f'energy without displacement: got {at_rest} eV, wanted a finite number')
    amplitudes, energies = [0.0], [at_rest]
    ladder = [*(FIRST_STEP * 2.0**k for k in range(20) if FIRST_STEP * 2.0**k < longest), longest]
    for amplitude in ladder:
        amplitudes.append(amplitude)
        energies.append(tried(amplitude))
        if energies[-1] > energies[-2]:
            break
    else:
        return LineMinimum(longest, at_rest - energies[-1], False)
    if len(energies) == 2:
        return LineMinimum(amplitudes[1], at_rest - energies[1], True)
    between = (amplitudes[-3], amplitudes[-1])
    found = minimize_scalar(tried, bounds=between, method='bounded', options={'xatol': ACCURACY * between[0] + 1e-3})
    if not np.isfinite(found.fun) or found.fun > energies[-2]:
        return LineMinimum(amplitudes[-2], at_rest - energies[-2], True)
    return LineMinimum(float(found.x), at_rest - float(found.fun), True)
